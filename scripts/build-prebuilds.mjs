/**
 * Builds the libraries that are shipped for machines without a compiler: `npm run build:prebuilds`.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prebuild } from './build-native.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.exitCode = prebuild(root, console.log) ? 0 : 1;
