/** The half of the test that runs in its own namespaces, as their process 1. */
import { makeCertificates } from './certificates.js';
import { startControlPlane } from './control-plane.js';
import { makeMachine } from './machine.js';
import { importImage, startNode, startRuntime } from './node.js';
import { makePauseImage } from './pause-image.js';

const say = (line: string) => process.stderr.write(`k8s: ${line}\n`);
process.stdin.resume();
process.stdin.on('end', () => process.exit(1));
process.stdin.on('close', () => process.exit(1));

try {
  await makeMachine();
  await makeCertificates();
  say('starting the control plane');
  await startControlPlane();
  say('starting the node');
  await startRuntime();
  await importImage(await makePauseImage());
  await startNode();
  say('ready');
} catch (error) {
  console.error(error);
  if (!process.env.KEEP) process.exit(1);
}
if (process.env.KEEP) await new Promise((resolve) => setTimeout(resolve, 3_600_000));
process.exit(0);
