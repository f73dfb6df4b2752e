/**
 * Sets up the namespaces that this process was started in: mounts, and a network with a namespace
 * per node. The kernel removes all of it with the last process in the namespaces, and none of it is
 * visible from outside.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { run } from '../command.js';
import {
  BRIDGE,
  DOMAIN,
  LOGS,
  MACHINE_ADDRESS,
  NODE_NETWORK_BITS,
  NODES,
  RUN,
  SERVICE_NETWORK,
} from './layout.js';

/**
 * Values that a kubelet requires and otherwise sets for the whole machine. A bind mount gives it a
 * file of the test to read and write instead.
 */
const KERNEL_SETTINGS: Readonly<Record<string, string>> = {
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/keys/root_maxbytes': '25000000',
};

export async function makeMachine(): Promise<void> {
  await makeMounts();
  await makeNetwork();
}

async function makeMounts(): Promise<void> {
  await run('mount', ['--make-rprivate', '/']);
  await run('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run']);
  for (const folder of [LOGS, `${RUN}/sysctl`, `${RUN}/var/new`, `${RUN}/var/work`]) {
    mkdirSync(folder, { recursive: true });
  }
  // A kubelet has fixed folders below /var. The overlay keeps its writes inside the namespace.
  const layers = `lowerdir=/var,upperdir=${RUN}/var/new,workdir=${RUN}/var/work`;
  await run('mount', ['-t', 'overlay', '-o', layers, 'overlay', '/var']);
  for (const [name, value] of Object.entries(KERNEL_SETTINGS)) {
    const file = `${RUN}/sysctl/${name.replaceAll('/', '.')}`;
    writeFileSync(file, `${value}\n`);
    await run('mount', ['--bind', file, `/proc/sys/${name}`]);
  }
  const resolver = `${RUN}/resolv.conf`;
  const search = `search svc.${DOMAIN} ${DOMAIN}\noptions ndots:5\n`;
  writeFileSync(resolver, `nameserver ${MACHINE_ADDRESS}\n${search}`);
  await run('mount', ['--bind', resolver, '/etc/resolv.conf']);
  // Volumes that a kubelet mounts for a pod must be visible to the container runtime.
  await run('mount', ['--make-rshared', '/']);
}

async function makeNetwork(): Promise<void> {
  const ip = (line: string) => run('ip', line.split(' '));
  await ip('link set lo up');
  await ip(`link add ${BRIDGE} type bridge`);
  await ip(`address add ${MACHINE_ADDRESS}/${NODE_NETWORK_BITS} dev ${BRIDGE}`);
  await ip(`link set ${BRIDGE} up`);
  for (const { name, address, podNetwork } of NODES) {
    await ip(`netns add ${name}`);
    await ip(`link add ${name} type veth peer name eth0 netns ${name}`);
    await ip(`link set ${name} master ${BRIDGE} up`);
    await ip(`-n ${name} link set lo up`);
    await ip(`-n ${name} address add ${address}/${NODE_NETWORK_BITS} dev eth0`);
    await ip(`-n ${name} link set eth0 up`);
    // To pods of other nodes through the machine. There is no other network.
    await ip(`-n ${name} route add default via ${MACHINE_ADDRESS}`);
    await ip(`route add ${podNetwork} via ${address}`);
    await run(...inNode(name, 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'));
  }
  // The machine has no kube-proxy and reaches services through a node.
  await ip(`route add ${SERVICE_NETWORK} via ${NODES[0]!.address}`);
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
}

/** Command line that runs a command in a node's network. `ip netns exec` would hide the cgroups. */
export function inNode(node: string, ...command: readonly string[]): [string, string[]] {
  return ['nsenter', [`--net=/run/netns/${node}`, ...command]];
}
