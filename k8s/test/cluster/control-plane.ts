/** Starts etcd, the API server, the controller manager and the scheduler: one process each. */

import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { binary } from './binaries.js';
import { certificateOf, keyOf } from './certificates.js';
import { startDaemon } from './daemon.js';
import { API_PORT, KUBECONFIG, MACHINE_ADDRESS, RUN, SERVICE_NETWORK } from './layout.js';

const ETCD_URL = 'http://127.0.0.1:2379';
const CONTROLLER_MANAGER_PORT = 10257;
const SCHEDULER_PORT = 10259;

export async function startControlPlane(): Promise<void> {
  await startDaemon(
    'etcd',
    [
      'etcd',
      ...[`--data-dir=${RUN}/etcd`, `--listen-client-urls=${ETCD_URL}`],
      ...[`--advertise-client-urls=${ETCD_URL}`, '--listen-peer-urls=http://127.0.0.1:2380'],
    ],
    async () => (await fetch(`${ETCD_URL}/health`)).ok,
  );
  await startDaemon(
    'kube-apiserver',
    [
      binary('kube-apiserver'),
      ...[`--etcd-servers=${ETCD_URL}`, `--service-cluster-ip-range=${SERVICE_NETWORK}`],
      ...[`--secure-port=${API_PORT}`, `--advertise-address=${MACHINE_ADDRESS}`],
      ...[`--tls-cert-file=${certificateOf('api')}`, `--tls-private-key-file=${keyOf('api')}`],
      ...[`--client-ca-file=${certificateOf('ca')}`, '--authorization-mode=Node,RBAC'],
      `--kubelet-certificate-authority=${certificateOf('ca')}`,
      `--kubelet-client-certificate=${certificateOf('admin')}`,
      '--kubelet-preferred-address-types=InternalIP',
      `--kubelet-client-key=${keyOf('admin')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${keyOf('service-accounts')}`,
      `--service-account-signing-key-file=${keyOf('service-accounts')}`,
    ],
    () => isHealthy(API_PORT, '/readyz'),
  );
  const common = [`--kubeconfig=${KUBECONFIG}`, '--leader-elect=false'];
  await startDaemon(
    'kube-controller-manager',
    [
      ...([binary('kube-controller-manager'), ...common] as const),
      '--use-service-account-credentials=true',
      `--service-account-private-key-file=${keyOf('service-accounts')}`,
      `--root-ca-file=${certificateOf('ca')}`,
    ],
    () => isHealthy(CONTROLLER_MANAGER_PORT, '/healthz'),
  );
  await startDaemon('kube-scheduler', [binary('kube-scheduler'), ...common], () =>
    isHealthy(SCHEDULER_PORT, '/healthz'),
  );
}

/** Two of the three serve self-signed certificates, so the certificate is not verified. */
function isHealthy(port: number, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        ...{ host: '127.0.0.1', port, path, rejectUnauthorized: false },
        cert: readFileSync(certificateOf('admin')),
        key: readFileSync(keyOf('admin')),
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      },
    );
    call.on('error', reject);
    call.end();
  });
}
