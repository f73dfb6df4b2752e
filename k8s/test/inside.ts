/**
 * The part of the test that runs in its own namespaces, as process 1. Its argument is
 * `InsideOptions` as JSON; it prints `InsideResult` as JSON.
 */
import { Failure } from '../../cli/terminal/failure.js';
import { checkChart, checkKustomization } from './checks/chart-checks.js';
import { checkOperations, type OperationsResult } from './checks/operations.js';
import { checkTrial } from './checks/trial.js';
import { makeCertificates } from './cluster/certificates.js';
import { startControlPlane } from './cluster/control-plane.js';
import { applyCrds } from './cluster/crds.js';
import { makePauseImage, makeRedisImage } from './cluster/images.js';
import { makeMachine } from './cluster/machine.js';
import { startNodes } from './cluster/nodes.js';
import { helm, kubectl } from './kubectl.js';

export interface InsideOptions {
  /** Path of the archive with the Longline image. */
  readonly imageArchive: string;
  readonly devices: number;
  readonly pushesPerSecond: number;
}

export interface InsideResult {
  readonly kubernetes: string;
  readonly helm: string;
  /** Files in k8s/longline/ci that were installed, upgraded, rolled back and uninstalled. */
  readonly valuesFiles: number;
  readonly operations: OperationsResult;
}

const options = JSON.parse(process.argv[2]!) as InsideOptions;
const startMs = performance.now();
const say = (line: string) =>
  process.stderr.write(`k8s ${Math.round((performance.now() - startMs) / 1000)} s: ${line}\n`);

// Standard input closes when main.ts ends or stops the test. Process 1 takes all others with it.
process.stdin.resume().on('close', () => process.exit(1));

try {
  process.stdout.write(`${JSON.stringify(await test())}\n`, () => process.exit(0));
} catch (error) {
  say(error instanceof Failure ? error.message : `${(error as Error).stack}`);
  await printState();
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
  await checkTrial(say);
  const operations = await checkOperations(options, say);
  const server = JSON.parse(await kubectl('version', '--output=json')) as {
    serverVersion: { gitVersion: string };
  };
  return {
    kubernetes: server.serverVersion.gitVersion,
    helm: (await helm('version', '--template={{.Version}}')).trim(),
    valuesFiles,
    operations,
  };
}

/** Prints pods and events, for the diagnosis of a failure. */
async function printState(): Promise<void> {
  for (const args of [
    ['get', 'pods', '--all-namespaces', '--output=wide'],
    ['get', 'events', '--all-namespaces', '--sort-by=.lastTimestamp'],
  ]) {
    try {
      say((await kubectl(...args)).split('\n').slice(-40).join('\n'));
    } catch (error) {
      say((error as Error).message);
    }
  }
}
