/**
 * Where things are inside the namespaces of the test. All folders lie on file systems that end with
 * these namespaces, so nothing here has to be unique or removed.
 */
export const RUN = '/run/longline';
export const LOGS = `${RUN}/log`;
export const CERTIFICATES = `${RUN}/pki`;
export const KUBECONFIG = `${RUN}/kubeconfig`;
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

/** The only node, and with it the machine's end of every network here. */
export const NODE = { name: 'node-1', device: 'node0', address: '10.77.0.1' };
export const API_PORT = 6443;
export const SERVICE_NETWORK = '10.96.0.0/16';
/** The first of them is the API's own. */
export const API_SERVICE = '10.96.0.1';
export const POD_NETWORK = '10.88.0.0/16';
export const DOMAIN = 'cluster.local';

/** Below the root of every cgroup hierarchy; the only thing here that outlives the namespaces. */
export const CGROUP = 'longline-k8s-test';

export const IMAGES = { pause: 'longline.test/pause:1', longline: 'longline.test/longline:test' };
