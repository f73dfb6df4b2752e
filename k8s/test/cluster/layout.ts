/**
 * Paths, addresses and names inside the namespaces of the test. The file systems of these folders
 * end with the namespaces, so no name has to be unique and no file has to be removed.
 */
export const RUN = '/run/longline';
export const LOGS = `${RUN}/log`;
export const CERTIFICATES = `${RUN}/pki`;
export const KUBECONFIG = `${RUN}/kubeconfig`;

/** Network of the nodes: a bridge whose first address is the machine's. */
export const BRIDGE = 'nodes';
export const MACHINE_ADDRESS = '10.77.0.1';
export const NODE_NETWORK_BITS = 24;
export const API_PORT = 6443;
export const API_URL = `https://${MACHINE_ADDRESS}:${API_PORT}`;
export const SERVICE_NETWORK = '10.96.0.0/16';
/** The first address of the service network, which Kubernetes gives to its API. */
export const API_SERVICE = '10.96.0.1';
export const DOMAIN = 'cluster.local';

/** Each node has its own network namespace, folder and cgroup, all with its name. */
export interface Node {
  readonly name: string;
  readonly address: string;
  readonly podNetwork: string;
}
export const NODES: readonly Node[] = [
  { name: 'node-1', address: '10.77.0.11', podNetwork: '10.88.1.0/24' },
  { name: 'node-2', address: '10.77.0.12', podNetwork: '10.88.2.0/24' },
];
export const POD_NETWORKS = '10.88.0.0/16';
export const folderOf = (node: Node) => `${RUN}/${node.name}`;
export const socketOf = (node: Node) => `${folderOf(node)}/containerd.sock`;

/** Below the root of every cgroup hierarchy. Cgroups are all that outlives the namespaces. */
export const CGROUP = 'longline-k8s-test';

export const PAUSE_IMAGE = 'longline.test/pause:1';
/** The image in checks/operations-values.yaml. */
export const LONGLINE_IMAGE = 'longline.test/longline:test';
export const REDIS_IMAGE = 'longline.test/redis:test';
