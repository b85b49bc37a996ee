import { type Copy, DockerfileParser, type From, type Instruction, type JSONInstruction } from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';

/** What is wrong with a Dockerfile: its grammar, and the rules that hadolint would name, by its numbers. */
export function dockerfileProblems(text: string): string[] {
  const file = DockerfileParser.parse(text);
  const grammar = validate(text).map(({ range, message }) => `line ${range.start.line + 1}: ${message}`);
  const stages = file.getFROMs().map((from) => from.getBuildStage());
  const rules = file.getInstructions().flatMap((instruction) => {
    const line = (instruction.getRange().start.line ?? 0) + 1;
    return instructionProblems(instruction, stages).map((problem) => `line ${line}: ${problem}`);
  });
  return [...grammar, ...rules, ...imageProblems(file.getInstructions(), file.getFROMs(), stages)];
}

function instructionProblems(instruction: Instruction, stages: Array<string | null>): string[] {
  const content = instruction.getArgumentsContent() ?? '';
  switch (instruction.getKeyword()) {
    case 'ADD':
      return ['DL3020 ADD where COPY does'];
    case 'WORKDIR':
      return content.startsWith('/') ? [] : ['DL3000 a WORKDIR that is not absolute'];
    case 'ENTRYPOINT':
    case 'CMD':
      return (instruction as JSONInstruction).getJSONStrings().length > 0
        ? []
        : ['DL3025 a command as text, not as JSON'];
    case 'COPY': {
      const from = (instruction as Copy).getFromFlag()?.getValue();
      return from && !stages.includes(from) ? [`DL3022 copies from ${from}, which is no stage`] : [];
    }
    case 'RUN':
      return runProblems(content);
    case 'ENV':
    case 'ARG':
      return /(PASSWORD|SECRET|TOKEN|_KEY)\b/.test(content) ? ['a secret that stays in the image'] : [];
    default:
      return [];
  }
}

function runProblems(command: string): string[] {
  return [
    ...(/\bsudo\b/.test(command) ? ['DL3004 sudo'] : []),
    ...(/\bnpm (install|i)\b/.test(command)
      ? ['DL3016 npm install, which may take other versions than the lock names']
      : []),
    ...(/\bapt-get install\b/.test(command) && !/--no-install-recommends/.test(command)
      ? ['DL3015 apt-get without --no-install-recommends']
      : []),
    ...(/\|/.test(command.replaceAll('||', '')) ? ['DL4006 a pipe whose first failure nobody sees'] : []),
  ];
}

function imageProblems(
  instructions: Instruction[],
  froms: ReturnType<ReturnType<typeof DockerfileParser.parse>['getFROMs']>,
  stages: Array<string | null>,
): string[] {
  const last = (keyword: string) => instructions.findLast((one) => one.getKeyword() === keyword)?.getArgumentsContent();
  const tags = froms.filter((from) => !stages.includes(from.getImage())).map((from) => from.getImageTag());
  return [
    ...(tags.some((tag) => !tag || tag === 'latest') ? ['DL3006 a base image without a version'] : []),
    ...(usersOf(instructions).some((user) => !user || /^(root|0)\b/.test(user)) ? ['DL3002 it runs as root'] : []),
    ...(last('HEALTHCHECK') === undefined ? ['DL3057 no health check'] : []),
    ...(froms.length < 2 ? ['one stage, so what it was built with stays in it'] : []),
  ];
}

/** As whom the images run: those of the stages from which nothing is copied only. */
function usersOf(instructions: Instruction[]): Array<string | undefined> {
  const users = new Map<string, string | undefined>();
  let stage = '';
  for (const [index, instruction] of instructions.entries()) {
    if (instruction.getKeyword() === 'FROM') {
      const from = instruction as From;
      stage = from.getBuildStage() ?? `${index}`;
      users.set(stage, users.get(from.getImage() ?? ''));
    } else if (instruction.getKeyword() === 'USER') users.set(stage, instruction.getArgumentsContent() ?? undefined);
    else if (instruction.getKeyword() === 'COPY') users.delete((instruction as Copy).getFromFlag()?.getValue() ?? '');
  }
  return [...users.values()];
}
