/**
 * One authority and the certificates that it signs: of the API, of the kubelets, and of an
 * administrator, which the control plane uses as well. Pods authenticate with service accounts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { run } from '../command.js';
import {
  API_SERVICE,
  API_URL,
  CERTIFICATES,
  KUBECONFIG,
  MACHINE_ADDRESS,
  NODES,
} from './layout.js';

const SUBJECTS: Readonly<Record<string, { subject: string; names: string }>> = {
  api: {
    subject: '/CN=kube-apiserver',
    names: `DNS:kubernetes.default.svc,IP:127.0.0.1,IP:${API_SERVICE},IP:${MACHINE_ADDRESS}`,
  },
  kubelet: { subject: '/CN=kubelet', names: NODES.map(({ address }) => `IP:${address}`).join() },
  admin: { subject: '/O=system:masters/CN=admin', names: 'DNS:admin' },
};

/** Elliptic curve, because generating an RSA key takes a second. */
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];

export const certificateOf = (name: string) => `${CERTIFICATES}/${name}.crt`;
export const keyOf = (name: string) => `${CERTIFICATES}/${name}.key`;

export async function makeCertificates(): Promise<void> {
  mkdirSync(CERTIFICATES, { recursive: true });
  const outputs = (name: string) => ['-keyout', keyOf(name), '-out', certificateOf(name)];
  await run('openssl', [
    'req',
    '-x509',
    ...NEW_KEY,
    ...outputs('ca'),
    '-subj',
    '/CN=longline-test-ca',
  ]);
  for (const [name, { subject, names }] of Object.entries(SUBJECTS)) {
    const signedBy = ['-CA', certificateOf('ca'), '-CAkey', keyOf('ca')];
    const identity = ['-subj', subject, '-addext', `subjectAltName=${names}`];
    await run('openssl', ['req', '-x509', ...signedBy, ...NEW_KEY, ...outputs(name), ...identity]);
  }
  await run('openssl', ['genrsa', '-out', keyOf('service-accounts'), '2048']);
  writeFileSync(KUBECONFIG, JSON.stringify(kubeconfig()));
}

function kubeconfig() {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'test',
        cluster: {
          server: API_URL,
          'certificate-authority': certificateOf('ca'),
        },
      },
    ],
    users: [
      {
        name: 'admin',
        user: { 'client-certificate': certificateOf('admin'), 'client-key': keyOf('admin') },
      },
    ],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  };
}
