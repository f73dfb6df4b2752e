/**
 * The half of the test that runs in its own namespaces, as their process 1: `inside.js <image archive>`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { applyCrds } from './crds.js';
import { makeCertificates } from './certificates.js';
import { checkChart } from './chart-checks.js';
import { startControlPlane } from './control-plane.js';
import { makeMachine } from './machine.js';
import { startNodes } from './nodes.js';
import { makePauseImage } from './pause-image.js';

const say = (line: string) => process.stderr.write(`k8s: ${line}\n`);
process.stdin.resume();
process.stdin.on('close', () => process.exit(1));
const stage = process.env.STAGE ?? 'all';

try {
  await makeMachine();
  await makeCertificates();
  say('starting the control plane');
  await startControlPlane();
  if (stage === 'all' || stage === 'chart') {
    await applyCrds();
    await checkChart(say);
  }
  say('starting the nodes');
  await startNodes([await makePauseImage(), process.argv[2]!]);
  say('ready');
} catch (error) {
  console.error(error);
}
if (process.env.KEEP) await sleep(3_600_000);
process.exit(0);
