/**
 * Makes a node of the namespaces that this process was started in: its own mounts, network, process
 * ids and host name. What is made here ends with the last process in them, however that comes about,
 * and nothing of it is seen from outside.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { run } from './command.js';
import { DOMAIN, LOGS, NODE, RUN } from './layout.js';

/** What the runtime, the kubelet and CNI plugins write to. */
const SCRATCH = ['/run', '/var/lib/containerd', '/var/lib/kubelet', '/var/lib/cni', '/var/log'];

/**
 * A kubelet sets these for the whole machine unless they are so already. It reads and writes a file
 * of ours instead.
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
  for (const folder of SCRATCH) {
    mkdirSync(folder, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', folder]);
  }
  for (const folder of [RUN, LOGS, `${RUN}/sysctl`]) mkdirSync(folder, { recursive: true });
  // Volumes of pods are mounted here and have to be seen by the runtime.
  await run('mount', ['--make-rshared', '/']);
  for (const [name, value] of Object.entries(KERNEL_SETTINGS)) {
    const file = `${RUN}/sysctl/${name.replaceAll('/', '.')}`;
    writeFileSync(file, `${value}\n`);
    await run('mount', ['--bind', file, `/proc/sys/${name}`]);
  }
  const resolver = `${RUN}/resolv.conf`;
  writeFileSync(resolver, `nameserver ${NODE.address}\nsearch svc.${DOMAIN} ${DOMAIN}\n`);
  await run('mount', ['--bind', resolver, '/etc/resolv.conf']);
}

async function makeNetwork(): Promise<void> {
  const { device, address } = NODE;
  await run('hostname', [NODE.name]);
  await run('ip', ['link', 'set', 'lo', 'up']);
  await run('ip', ['link', 'add', device, 'type', 'bridge']);
  await run('ip', ['address', 'add', `${address}/24`, 'dev', device]);
  await run('ip', ['link', 'set', device, 'up']);
  // To the addresses of services, which are nobody's. They never leave: kube-proxy rewrites them.
  await run('ip', ['route', 'add', 'default', 'dev', device]);
  for (const [name, value] of [
    ['net/ipv4/ip_forward', '1'],
    ['net/ipv4/ip_local_port_range', '1024 65000'],
  ]) {
    writeFileSync(`/proc/sys/${name}`, value!);
  }
}
