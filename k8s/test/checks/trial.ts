/**
 * Checks the trial of the documentation: installs the chart with its bundled Redis and runs `helm
 * test`.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { LONGLINE_IMAGE, REDIS_IMAGE, RUN } from '../cluster/layout.js';
import { apply, helm, kubectl } from '../kubectl.js';
import { CHART, makeNamespace } from './chart-checks.js';

const NAMESPACE = 'trial';
const HERE = `--namespace=${NAMESPACE}`;
const RELEASE = 'longline';

export async function checkTrial(say: (line: string) => void): Promise<void> {
  say('trial: install, test, uninstall');
  await makeNamespace(NAMESPACE, 'restricted');
  await apply(JSON.stringify(makeVolume()));
  const [repository, tag] = LONGLINE_IMAGE.split(':');
  const values = {
    'auth.mode': 'none',
    'edge.connections': '1000',
    'redis.bundled.enabled': 'true',
    'redis.bundled.image': REDIS_IMAGE,
    'image.repository': repository,
    'image.tag': tag,
  };
  const sets = Object.entries(values).map(([name, value]) => `--set=${name}=${value}`);
  await helm('install', RELEASE, CHART, HERE, ...sets, '--wait', '--timeout=5m');
  await helm('test', RELEASE, HERE);
  await helm('uninstall', RELEASE, HERE, '--wait', '--timeout=5m');
  await kubectl('delete', 'namespace', NAMESPACE, '--timeout=2m');
}

/** The volume for the claim of Redis: this cluster has no storage class that would provision it. */
function makeVolume() {
  const path = `${RUN}/trial-volume`;
  mkdirSync(path);
  // Kubernetes does not change the owner of a hostPath.
  chmodSync(path, 0o777);
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'trial' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      hostPath: { path },
      // Reserves the volume for this claim.
      claimRef: { namespace: NAMESPACE, name: `data-${RELEASE}-redis-0` },
    },
  };
}
