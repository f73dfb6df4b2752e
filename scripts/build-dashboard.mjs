/** Builds the dashboard: `control/dashboard` into `dist/control/dashboard`. */
import { copyFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const [from, to] = [join(ROOT, 'control/dashboard'), join(ROOT, 'dist/control/dashboard')];

buildSync({
  entryPoints: { dashboard: join(from, 'main.tsx') },
  outdir: to,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  logLevel: 'warning',
});
copyFileSync(join(from, 'index.html'), join(to, 'index.html'));
