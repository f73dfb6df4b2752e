/**
 * One real node: containerd with runc, bridge networking by CNI, a kubelet, kube-proxy, and the
 * cluster's DNS beside them. CoreDNS is no pod here, because a test of the chart needs it to be there
 * and not to be looked at.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { binary } from './binaries.js';
import { certificateOf, keyOf } from './certificates.js';
import { run } from './command.js';
import { startDaemon } from './daemon.js';
import { kubectl } from './kubectl.js';
import {
  CGROUP,
  CONTAINERD_SOCKET,
  DOMAIN,
  IMAGES,
  KUBECONFIG,
  NODE,
  POD_NETWORK,
  RUN,
} from './layout.js';

const CNI_FOLDER = `${RUN}/cni`;
const KUBE_PROXY_PORT = 10256;
const COREDNS_PORT = 8181;

export async function startRuntime(): Promise<void> {
  mkdirSync(CNI_FOLDER);
  writeJson(`${CNI_FOLDER}/10-bridge.conflist`, CNI);
  writeFileSync(`${RUN}/containerd.toml`, CONTAINERD);
  await startDaemon(
    'containerd',
    ['containerd', '--config', `${RUN}/containerd.toml`],
    async () => {
      await ctr('version');
      return true;
    },
  );
}

/** @param archive as `docker save` or OCI writes it */
export async function importImage(archive: string): Promise<void> {
  await ctr('images', 'import', '--no-unpack=false', archive);
}

export async function startNode(): Promise<void> {
  writeFileSync(`${RUN}/Corefile`, COREFILE);
  await startDaemon('coredns', [binary('coredns'), '-conf', `${RUN}/Corefile`], () =>
    isOk(COREDNS_PORT, '/ready'),
  );
  writeJson(`${RUN}/kubelet.json`, KUBELET);
  const identity = [`--hostname-override=${NODE.name}`, `--node-ip=${NODE.address}`];
  await startDaemon(
    'kubelet',
    [
      ...([binary('kubelet'), `--config=${RUN}/kubelet.json`] as const),
      ...[`--kubeconfig=${KUBECONFIG}`, ...identity],
    ],
    isNodeReady,
  );
  writeJson(`${RUN}/kube-proxy.json`, KUBE_PROXY);
  await startDaemon(
    'kube-proxy',
    [binary('kube-proxy'), `--config=${RUN}/kube-proxy.json`, `--hostname-override=${NODE.name}`],
    () => isOk(KUBE_PROXY_PORT, '/healthz'),
  );
}

function ctr(...args: string[]): Promise<string> {
  return run('ctr', ['--address', CONTAINERD_SOCKET, '--namespace', 'k8s.io', ...args]);
}

async function isNodeReady(): Promise<boolean> {
  const path = '{.status.conditions[?(@.type=="Ready")].status}';
  return (await kubectl('get', 'node', NODE.name, `--output=jsonpath=${path}`)) === 'True';
}

async function isOk(port: number, path: string): Promise<boolean> {
  return (await fetch(`http://127.0.0.1:${port}${path}`)).ok;
}

/** Their YAML is a superset. */
function writeJson(file: string, value: unknown): void {
  writeFileSync(file, JSON.stringify(value));
}

const CONTAINERD = `
version = 2
[grpc]
  address = "${CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGES.pause}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${CNI_FOLDER}"
`;

const CNI = {
  cniVersion: '1.0.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      // A pod may reach itself through its service.
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: POD_NETWORK }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};

const KUBELET = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  authentication: {
    anonymous: { enabled: false },
    webhook: { enabled: false },
    x509: { clientCAFile: certificateOf('ca') },
  },
  authorization: { mode: 'AlwaysAllow' },
  tlsCertFile: certificateOf('kubelet'),
  tlsPrivateKeyFile: keyOf('kubelet'),
  cgroupDriver: 'cgroupfs',
  cgroupRoot: `/${CGROUP}`,
  // Version 1 is deprecated, and what some machines still have.
  failCgroupV1: false,
  failSwapOn: false,
  containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
  clusterDNS: [NODE.address],
  clusterDomain: DOMAIN,
  resolvConf: `${RUN}/resolv.conf`,
  volumePluginDir: `${RUN}/volume-plugins`,
  // Its disks are the memory of a machine that others fill as well.
  evictionHard: { 'memory.available': '200Mi' },
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
};

const KUBE_PROXY = {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  clientConnection: { kubeconfig: KUBECONFIG },
  mode: 'iptables',
  clusterCIDR: POD_NETWORK,
  // These settings are the machine's, not those of a network namespace.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
};

const COREFILE = `
${DOMAIN}:53 {
  bind ${NODE.address}
  errors
  ready 127.0.0.1:${COREDNS_PORT}
  kubernetes ${DOMAIN} {
    kubeconfig ${KUBECONFIG}
  }
}
`;
