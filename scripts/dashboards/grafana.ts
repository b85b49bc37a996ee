import {
  BigValueColorMode,
  BigValueGraphMode,
  type DataSourceRef,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as LinesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/** A board of Grafana, by what is special about it. */
export interface Board {
  /** Also the name of its file. */
  name: string;
  title: string;
  shows: string;
  variables?: Variable[];
  rows: Row[];
}

/** What the reader chooses from: the values of a label. */
export interface Variable {
  name: string;
  metric: string;
}

export interface Row {
  title: string;
  panels: Panel[];
}

export interface Panel {
  title: string;
  /** What it shows, and when that is bad. */
  shows: string;
  /** A line for each series over time when not given. */
  as?: 'number';
  unit: Unit;
  /** PromQL by legend, which may hold labels as `{{lane}}`. */
  queries: Record<string, string>;
  /** Of 24 columns. */
  width?: number;
  stacked?: boolean;
  /** From which value on it is not well, and where it is bad; or what it has to be at least. */
  limits?: Limits;
}

type Limits = { warn?: number; bad: number } | { atLeast: number };

/** Units of Grafana by their ids there. */
export type Unit = 'short' | 'none' | 's' | 'ms' | 'bytes' | 'percentunit' | 'reqps' | 'ops' | 'cps' | 'dtdurations';

const PROMETHEUS: DataSourceRef = { type: 'prometheus', uid: 'prometheus' };
const LINES_HEIGHT = 8;
const NUMBER_HEIGHT = 4;

/** The board as Grafana reads it. */
export function build({ name, title, shows, variables = [], rows }: Board): Dashboard {
  const board = new DashboardBuilder(title)
    .uid(`sutazai-${name}`)
    .description(shows)
    .tags(['sutazai'])
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .refresh('30s')
    .time({ from: 'now-3h', to: 'now' })
    .link(new DashboardLinkBuilder('SutazAI').type(DashboardLinkType.Dashboards).tags(['sutazai']).keepTime(true))
    .annotation(
      new AnnotationQueryBuilder()
        .name('Alerts')
        .datasource(PROMETHEUS)
        .enable(true)
        .iconColor('red')
        .expr('ALERTS{alertstate="firing", alertname!="Watchdog"}'),
    );
  for (const { name: label, metric } of variables)
    board.withVariable(
      new QueryVariableBuilder(label)
        .datasource(PROMETHEUS)
        .query(`label_values(${metric}, ${label})`)
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc)
        .multi(true)
        .includeAll(true)
        .allValue('.*')
        .current({ text: 'All', value: '$__all' }),
    );
  let id = 0;
  for (const row of rows) {
    board.withRow(new RowBuilder(row.title).id(++id));
    for (const panel of row.panels)
      board.withPanel((panel.as === 'number' ? numberOf(panel) : linesOf(panel)).id(++id));
  }
  return shown(board.build());
}

/** The builders put links and annotations into a menu where nobody looks; on the board is where they are when this is not said. */
function shown(board: Dashboard): Dashboard {
  for (const one of [...(board.links ?? []), ...(board.annotations.list ?? [])]) delete one.placement;
  return board;
}

const queriesOf = (queries: Record<string, string>) =>
  Object.entries(queries).map(([legend, expr], index) =>
    new DataqueryBuilder()
      .refId(String.fromCharCode(65 + index))
      .datasource(PROMETHEUS)
      .expr(expr)
      .legendFormat(legend),
  );

function linesOf({ title, shows, unit, queries, width = 8, stacked = false, limits }: Panel): LinesBuilder {
  const panel = new LinesBuilder()
    .title(title)
    .description(shows)
    .datasource(PROMETHEUS)
    .height(LINES_HEIGHT)
    .span(width)
    .unit(unit)
    .min(0)
    .lineWidth(1)
    .fillOpacity(stacked ? 30 : 5)
    .showPoints(VisibilityMode.Never)
    .spanNulls(false)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .targets(queriesOf(queries).map((query) => query.range()));
  if (stacked) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
  return limits ? panel.thresholds(thresholds(limits)).thresholdsStyle(dashedLine()) : panel;
}

function numberOf({ title, shows, unit, queries, width = 4, limits }: Panel): StatBuilder {
  const panel = new StatBuilder()
    .title(title)
    .description(shows)
    .datasource(PROMETHEUS)
    .height(NUMBER_HEIGHT)
    .span(width)
    .unit(unit)
    .colorMode(limits ? BigValueColorMode.Background : BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.Area)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .targets(queriesOf(queries).map((query) => query.range()));
  return limits ? panel.thresholds(thresholds(limits)) : panel;
}

const dashedLine = () => new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed);

function thresholds(limits: Limits): ThresholdsConfigBuilder {
  const steps =
    'atLeast' in limits
      ? [
          { value: null, color: 'red' },
          { value: limits.atLeast, color: 'green' },
        ]
      : [
          { value: null, color: 'green' },
          ...(limits.warn === undefined ? [] : [{ value: limits.warn, color: 'orange' }]),
          { value: limits.bad, color: 'red' },
        ];
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps);
}
