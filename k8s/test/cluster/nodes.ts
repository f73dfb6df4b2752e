/**
 * Real nodes: each runs containerd with runc, CNI bridge networking, a kubelet and kube-proxy in
 * its own network namespace. CoreDNS runs on the machine instead of in a pod: the test needs name
 * resolution, but does not test its deployment.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { run } from '../command.js';
import { kubectl } from '../kubectl.js';
import { binary } from './binaries.js';
import { certificateOf, keyOf } from './certificates.js';
import { startDaemon } from './daemon.js';
import {
  API_URL,
  DOMAIN,
  folderOf,
  KUBECONFIG,
  MACHINE_ADDRESS,
  NODES,
  type Node,
  RUN,
  socketOf,
} from './layout.js';
import { inNode } from './machine.js';
import { cniConfig, containerdConfig, kubeletConfig, kubeProxyConfig } from './node-configs.js';

const COREDNS_PORT = 8181;
const KUBE_PROXY_PORT = 10256;

/** @param archives image archives to import into each node, of `docker save` or OCI */
export async function startNodes(archives: readonly string[]): Promise<void> {
  await startDns();
  for (const node of NODES) await startNode(node, archives);
}

async function startNode(node: Node, archives: readonly string[]): Promise<void> {
  const folder = folderOf(node);
  const file = (name: string) => `${folder}/${name}`;
  mkdirSync(file('cni'), { recursive: true });
  // JSON is valid YAML.
  writeFileSync(file('cni/pods.conflist'), JSON.stringify(cniConfig(node)));
  writeFileSync(file('kubelet.yaml'), JSON.stringify(kubeletConfig(node)));
  writeFileSync(file('kube-proxy.yaml'), JSON.stringify(kubeProxyConfig(node)));
  writeFileSync(file('containerd.toml'), containerdConfig(node));
  const start = (name: string, command: readonly string[], isReady: () => Promise<boolean>) => {
    const [nsenter, args] = inNode(node.name, ...command);
    return startDaemon(`${node.name}-${name}`, [nsenter, ...args], isReady);
  };
  const ctr = (...args: string[]) =>
    run('ctr', ['--address', socketOf(node), '--namespace', 'k8s.io', ...args]);

  await start('containerd', ['containerd', '--config', file('containerd.toml')], async () => {
    await ctr('version');
    return true;
  });
  for (const archive of archives) await ctr('images', 'import', archive);
  const identity = [`--hostname-override=${node.name}`, `--node-ip=${node.address}`];
  const configs = [`--kubeconfig=${KUBECONFIG}`, `--config=${file('kubelet.yaml')}`];
  await start(
    'kubelet',
    [binary('kubelet'), ...configs, ...identity, `--root-dir=${folder}/kubelet`],
    () => isReady(node),
  );
  const config = `--config=${file('kube-proxy.yaml')}`;
  await start(
    'kube-proxy',
    [binary('kube-proxy'), config, `--hostname-override=${node.name}`],
    async () => (await fetch(`http://${node.address}:${KUBE_PROXY_PORT}/healthz`)).ok,
  );
}

async function isReady(node: Node): Promise<boolean> {
  const path = '{.status.conditions[?(@.type=="Ready")].status}';
  return (await kubectl('get', 'node', node.name, `--output=jsonpath=${path}`)) === 'True';
}

async function startDns(): Promise<void> {
  writeFileSync(`${RUN}/Corefile`, COREFILE);
  await startDaemon('coredns', [binary('coredns'), '-conf', `${RUN}/Corefile`], async () => {
    return (await fetch(`http://127.0.0.1:${COREDNS_PORT}/ready`)).ok;
  });
}

const COREFILE = `
${DOMAIN}:53 {
  bind ${MACHINE_ADDRESS}
  errors
  ready 127.0.0.1:${COREDNS_PORT}
  kubernetes ${DOMAIN} {
    endpoint ${API_URL}
    tls ${certificateOf('admin')} ${keyOf('admin')} ${certificateOf('ca')}
  }
}
`;
