/**
 * The half of the test that runs in its own namespaces, as their process 1. Its argument is
 * `InsideOptions` as JSON; it prints `InsideResult` as JSON.
 */
import { Failure } from '../../cli/failure.js';
import { makeCertificates } from './certificates.js';
import { checkChart, checkKustomization } from './chart-checks.js';
import { startControlPlane } from './control-plane.js';
import { applyCrds } from './crds.js';
import { type HeldResult, holdDevices } from './held.js';
import { makePauseImage, makeRedisImage } from './images.js';
import { helm, kubectl } from './kubectl.js';
import { makeMachine } from './machine.js';
import { startNodes } from './nodes.js';
import { tryTrial } from './trial.js';

export interface InsideOptions {
  /** Of Longline. */
  readonly imageArchive: string;
  readonly devices: number;
  readonly pushesPerSecond: number;
}

export interface InsideResult {
  readonly kubernetes: string;
  readonly helm: string;
  /** In k8s/longline/ci: each was installed, upgraded, rolled back and uninstalled. */
  readonly valuesFiles: number;
  readonly held: HeldResult;
}

const options = JSON.parse(process.argv[2]!) as InsideOptions;
const startMs = performance.now();
const say = (line: string) =>
  process.stderr.write(`k8s ${Math.round((performance.now() - startMs) / 1000)} s: ${line}\n`);

// Whoever started us is gone, or wants us to be. With us goes all that we have started.
process.stdin.resume().on('close', () => process.exit(1));

try {
  process.stdout.write(`${JSON.stringify(await test())}\n`, () => process.exit(0));
} catch (error) {
  say(error instanceof Failure ? error.message : `${(error as Error).stack}`);
  await sayState();
  process.exit(1);
}

async function test(): Promise<InsideResult> {
  await makeMachine();
  await makeCertificates();
  say('starting etcd, the API server, the controllers and the scheduler');
  await startControlPlane();
  await applyCrds();
  const valuesFiles = await checkChart(say);
  await checkKustomization(say);
  say('starting two nodes');
  await startNodes([await makePauseImage(), await makeRedisImage(), options.imageArchive]);
  await tryTrial(say);
  const held = await holdDevices(options, say);
  const server = JSON.parse(await kubectl('version', '--output=json')) as {
    serverVersion: { gitVersion: string };
  };
  return {
    kubernetes: server.serverVersion.gitVersion,
    helm: (await helm('version', '--template={{.Version}}')).trim(),
    valuesFiles,
    held,
  };
}

/** What there is to see when something did not come true. */
async function sayState(): Promise<void> {
  for (const question of [
    ['get', 'pods', '--all-namespaces', '--output=wide'],
    ['get', 'events', '--all-namespaces', '--sort-by=.lastTimestamp'],
  ]) {
    try {
      say((await kubectl(...question)).split('\n').slice(-40).join('\n'));
    } catch (error) {
      say((error as Error).message);
    }
  }
}
