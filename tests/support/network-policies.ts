import { BlockList } from 'node:net';
import type { Resource } from './kubernetes.ts';
import { podsOf, selects } from './kubernetes-references.ts';

/** Who talks: pods of a component, all pods of another namespace, or an address outside the cluster. */
export type Party = { component: string } | { namespace: string } | { address: string };

/**
 * Whether the policies let a connection through, as the API of Kubernetes describes them: a pod that no policy of a direction
 * means is open in it, and one of several policies is enough. Both ends have to agree.
 */
export function reaches(resources: Resource[], from: Party, to: Party, port: number, protocol = 'TCP'): boolean {
  return (
    allows(resources, 'Egress', from, to, port, protocol) && allows(resources, 'Ingress', to, from, port, protocol)
  );
}

function allows(
  resources: Resource[],
  direction: 'Ingress' | 'Egress',
  owner: Party,
  peer: Party,
  port: number,
  protocol: string,
): boolean {
  // Our policies bind our own pods alone.
  if (!('component' in owner)) return true;
  const labels = labelsOf(resources, owner.component);
  const policies = resources.filter(
    ({ kind, spec }) =>
      kind === 'NetworkPolicy' && spec.policyTypes.includes(direction) && selects(spec.podSelector, labels),
  );
  if (policies.length === 0) return true;
  const [rules, peers] = direction === 'Ingress' ? ['ingress', 'from'] : ['egress', 'to'];
  return policies.some(({ spec }) =>
    (spec[rules as string] ?? []).some(
      (rule: Resource) =>
        (!rule.ports || rule.ports.some((one: Resource) => one.port === port && one.protocol === protocol)) &&
        (!rule[peers as string] || rule[peers as string].some((one: Resource) => isMeant(resources, one, peer))),
    ),
  );
}

function isMeant(resources: Resource[], { podSelector, namespaceSelector, ipBlock }: Resource, party: Party): boolean {
  if ('address' in party) return Boolean(ipBlock) && isWithin(ipBlock, party.address);
  if ('namespace' in party)
    return Boolean(namespaceSelector) && selects(namespaceSelector, { 'kubernetes.io/metadata.name': party.namespace });
  return Boolean(podSelector) && !namespaceSelector && selects(podSelector, labelsOf(resources, party.component));
}

function isWithin({ cidr, except = [] }: Resource, address: string): boolean {
  const family = address.includes(':') ? 'ipv6' : 'ipv4';
  const listed = (blocks: string[]) => {
    const list = new BlockList();
    for (const block of blocks.filter((one) => one.includes(':') === (family === 'ipv6'))) {
      const [network = '', prefix] = block.split('/');
      list.addSubnet(network, Number(prefix), family);
    }
    return list.check(address, family);
  };
  return listed([cidr]) && !listed(except);
}

function labelsOf(resources: Resource[], component: string): Record<string, string> {
  const found = podsOf(resources).find(({ labels }) => labels['app.kubernetes.io/component'] === component);
  if (!found) throw new Error(`no pod is a ${component}`);
  return found.labels;
}
