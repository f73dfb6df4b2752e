/** What somebody does first: installs a trial with its own Redis, and has Helm push through it. */
import { chmodSync, mkdirSync } from 'node:fs';
import { CHART, makeNamespace } from './chart-checks.js';
import { apply, helm, kubectl } from './kubectl.js';
import { LONGLINE_IMAGE, REDIS_IMAGE, RUN } from './layout.js';

const NAMESPACE = 'trial';
const HERE = `--namespace=${NAMESPACE}`;
const RELEASE = 'longline';

export async function tryTrial(say: (line: string) => void): Promise<void> {
  say('a trial: install, test, uninstall');
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

/** A cluster's storage class would make one for the claim; this one waits for it. */
function makeVolume() {
  const path = `${RUN}/trial-volume`;
  mkdirSync(path);
  // Kubernetes gives a folder of the host to nobody.
  chmodSync(path, 0o777);
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'trial' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      hostPath: { path },
      // Claims of others wait as well.
      claimRef: { namespace: NAMESPACE, name: `data-${RELEASE}-redis-0` },
    },
  };
}
