/**
 * Packs the packages `longline` and `@longline/client`, checks what is in them, installs them in an
 * empty project and runs them there: a local cluster by `npx longline dev`, the example of the
 * client's README in Node.js and, bundled, in Chromium where there is one.
 *
 *   node scripts/check-packages.mjs
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CHROMIUM = '/usr/bin/chromium';
const READY_DEADLINE_MS = 120_000;
const PUSH_DEADLINE_MS = 30_000;
const CLIENT_GZIP_BYTES_MAX = 5 * 1024;

/** Files that each package may contain; any other file fails the check. */
const CONTENTS = {
  longline: [
    /^dist\/build\.json$/,
    /^dist\/control\/dashboard\/(index\.html|dashboard\.(js|css))$/,
    /^dist\/(canary|cli|common|control|drill|edge|router)\/.*\.js$/,
    /^dist\/proto\/gen\/.*\.(js|binpb)$/,
    /^prebuilds\/linux-(x64|arm64)\/transport\.node$/,
    /^proto\/longline\/v1\/\w+\.proto$/,
    /^scripts\/(ensure-redis|system-packages)\.mjs$/,
    /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  ],
  '@longline/client': [/^dist\/[\w-]+\.(js|d\.ts)$/, /^(package\.json|README\.md|LICENSE)$/],
};

const work = mkdtempSync(join(tmpdir(), 'longline-packages-'));
let cluster;
try {
  const server = await checkPackage(ROOT);
  const client = await checkPackage(join(ROOT, 'client'));
  checkTypes(client);
  const project = installBoth(server, client);
  cluster = await startCluster(project);
  await runExampleInNode(project);
  await runExampleInChromium(project);
} finally {
  await stop(cluster);
  rmSync(work, { recursive: true, force: true });
}

/** @returns the path of the tarball */
async function checkPackage(folder) {
  const output = execFileSync('npm', ['pack', '--json', '--pack-destination', work], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // Scripts of the package may print before the JSON.
  const packed = JSON.parse(output.slice(output.search(/^[[{]/m)));
  const { name, filename, files, size } = Array.isArray(packed)
    ? packed[0]
    : Object.values(packed)[0];
  const strange = files
    .map(({ path }) => path)
    .filter((path) => !CONTENTS[name].some((allowed) => allowed.test(path)));
  if (strange.length > 0) throw new Error(`${name} contains ${strange.join(', ')}`);
  const tarball = join(work, filename);
  const { messages, pkg } = await publint({ pkgDir: folder, strict: true });
  const problems = messages.map((message) => formatMessage(message, pkg));
  if (problems.length > 0) throw new Error(`publint on ${name}:\n${problems.join('\n')}`);
  say(`${name}: ${files.length} files, ${Math.round(size / 1024)} KB packed, publint passes`);
  return tarball;
}

/** Only the client has an API for programs. It is ESM, so resolution as CommonJS is left out. */
function checkTypes(tarball) {
  const { status, stdout } = spawnSync(
    join(ROOT, 'node_modules/.bin/attw'),
    [tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`arethetypeswrong on @longline/client:\n${stdout}`);
  say('@longline/client: arethetypeswrong passes');
}

/** @returns the folder of an empty project with both packages */
function installBoth(...tarballs) {
  const project = join(work, 'project');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{"private":true,"type":"module"}');
  const { status, stdout, stderr } = spawnSync(
    'npm',
    ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs],
    { cwd: project, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`npm install:\n${stdout}${stderr}`);
  const warnings = stderr.split('\n').filter((line) => /EBADENGINE|deprecated/.test(line));
  if (warnings.length > 0) throw new Error(`npm install warns:\n${warnings.join('\n')}`);
  say('installed in an empty project, without an engine or deprecation warning');
  return project;
}

async function startCluster(project) {
  const child = spawn('npx', ['longline', 'dev', '--edges', '2'], {
    cwd: project,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const isReady = new Promise((resolve, reject) => {
    lines.on('line', (line) => line.includes('Longline is ready') && resolve());
    child.once('exit', (code) => reject(new Error(`longline dev ended with ${code}`)));
  });
  await Promise.race([isReady, timeout(READY_DEADLINE_MS, 'longline dev is not ready')]);
  say('npx longline dev is ready');
  return child;
}

/** The process and all that npx started. */
async function stop(child) {
  if (child === undefined || child.exitCode !== null) return;
  const exited = once(child, 'exit');
  process.kill(-child.pid, 'SIGTERM');
  await Promise.race([exited, sleep(20_000)]);
}

async function runExampleInNode(project) {
  writeFileSync(join(project, 'example.js'), example('node-device'));
  const child = spawn(process.execPath, ['example.js'], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const received = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.includes('"from":"node"')) return;
    }
  })();
  try {
    push(project, 'node-device', '{"from":"node"}');
    await Promise.race([
      received,
      timeout(PUSH_DEADLINE_MS, 'the example received no push in Node.js'),
    ]);
    say(`the example received a push in Node.js ${process.versions.node}`);
  } finally {
    child.kill();
  }
}

async function bundle(project, source) {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: project },
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
  });
  return Buffer.from(outputFiles[0].contents);
}

async function runExampleInChromium(project) {
  const client = await bundle(project, "export { connect } from '@longline/client';");
  const size = gzipSync(client).length;
  if (size > CLIENT_GZIP_BYTES_MAX)
    throw new Error(`the bundled client is ${size} bytes compressed`);
  say(`the bundled client is ${size} bytes compressed`);
  if (!existsSync(CHROMIUM)) return say('skipped in Chromium: it is not installed');
  const script = await bundle(project, example('page-device'));
  const pages = createServer(({ url }, response) => {
    const isScript = url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(
      isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>',
    );
  }).listen(0, '127.0.0.1');
  await once(pages, 'listening');
  const args = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-background-networking',
  ];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  try {
    const page = await browser.newPage();
    const received = new Promise((resolve) => {
      page.on('console', (message) => message.text().includes('"from":"page"') && resolve());
    });
    await page.goto(`http://127.0.0.1:${pages.address().port}/`);
    push(project, 'page-device', '{"from":"page"}');
    await Promise.race([
      received,
      timeout(PUSH_DEADLINE_MS, 'the example received no push in Chromium'),
    ]);
    say('the bundled example received a push in Chromium');
  } finally {
    await browser.close();
    pages.close();
  }
}

/** The first example of the client's README, for this clientId. */
function example(clientId) {
  const readme = readFileSync(join(ROOT, 'client/README.md'), 'utf8');
  const [, code] = /```js\n([\s\S]*?)```/.exec(readme);
  return code.replace("clientId: 'bob'", `clientId: '${clientId}'`);
}

/** A durable push: the device receives it now or as soon as it connects. */
function push(project, clientId, payload) {
  const args = ['longline', 'push', clientId, payload, '--ttl', '60000', '--json'];
  const { stdout, stderr } = spawnSync('npx', args, { cwd: project, encoding: 'utf8' });
  const verdict = /WRITTEN|STORED/.exec(stdout)?.[0];
  if (verdict === undefined) throw new Error(`longline push: ${stdout}${stderr}`);
}

async function timeout(ms, message) {
  await sleep(ms, undefined, { ref: false });
  throw new Error(`${message} within ${ms / 1000} s`);
}

function say(line) {
  console.log(`packages: ${line}`);
}
