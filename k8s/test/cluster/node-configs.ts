/** Configurations of containerd, CNI, the kubelet and kube-proxy of a node. */
import { certificateOf, keyOf } from './certificates.js';
import {
  CGROUP,
  DOMAIN,
  folderOf,
  KUBECONFIG,
  MACHINE_ADDRESS,
  type Node,
  PAUSE_IMAGE,
  POD_NETWORKS,
  RUN,
  socketOf,
} from './layout.js';

export function containerdConfig(node: Node): string {
  return `
version = 2
root = "${folderOf(node)}/containerd-root"
state = "${folderOf(node)}/containerd"
[grpc]
  address = "${socketOf(node)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folderOf(node)}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  # For machines where root may not lower the OOM score of a process below its own.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${folderOf(node)}/cni"
`;
}

export function cniConfig(node: Node) {
  return {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        // Lets a pod reach itself through its service.
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: `${folderOf(node)}/addresses`,
          ranges: [[{ subnet: node.podNetwork }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
}

export function kubeletConfig(node: Node) {
  return {
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
    cgroupRoot: `/${CGROUP}/${node.name}`,
    // Version 1 is deprecated, but some machines still have it.
    failCgroupV1: false,
    failSwapOn: false,
    containerRuntimeEndpoint: `unix://${socketOf(node)}`,
    clusterDNS: [MACHINE_ADDRESS],
    clusterDomain: DOMAIN,
    resolvConf: `${RUN}/resolv.conf`,
    volumePluginDir: `${folderOf(node)}/volume-plugins`,
    podLogsDir: `${folderOf(node)}/logs`,
    // The disk is the machine's memory, which other processes fill as well: no eviction for disk.
    evictionHard: { 'memory.available': '200Mi' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  };
}

export function kubeProxyConfig(node: Node) {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: KUBECONFIG },
    mode: 'iptables',
    clusterCIDR: POD_NETWORKS,
    healthzBindAddress: `${node.address}:10256`,
    // These sysctls are global to the machine: kube-proxy must not change them.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  };
}
