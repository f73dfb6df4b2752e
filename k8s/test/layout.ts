/**
 * Where things are inside the namespaces of the test. All folders lie on file systems that end with
 * these namespaces, so nothing here has to be unique or removed.
 */
export const RUN = '/run/longline';
export const LOGS = `${RUN}/log`;
export const CERTIFICATES = `${RUN}/pki`;
export const KUBECONFIG = `${RUN}/kubeconfig`;

/** The network of the nodes: a bridge, of which the machine has the first address. */
export const BRIDGE = 'nodes';
export const MACHINE_ADDRESS = '10.77.0.1';
export const NODE_NETWORK_BITS = 24;
export const API_PORT = 6443;
export const API_URL = `https://${MACHINE_ADDRESS}:${API_PORT}`;
export const SERVICE_NETWORK = '10.96.0.0/16';
/** The first of them is the API's own. */
export const API_SERVICE = '10.96.0.1';
export const DOMAIN = 'cluster.local';

/** Each has a network namespace of its own, and folders and cgroups that carry its name. */
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

/** Below the root of every cgroup hierarchy; the only thing here that outlives the namespaces. */
export const CGROUP = 'longline-k8s-test';

export const PAUSE_IMAGE = 'longline.test/pause:1';
/** As held-values.yaml has it. */
export const LONGLINE_IMAGE = 'longline.test/longline:test';
export const REDIS_IMAGE = 'longline.test/redis:test';
