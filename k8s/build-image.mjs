/**
 * Builds the image without a registry or a container builder: from this machine's Node, the
 * libraries that it is linked with, and the compiled code. Equivalent to k8s/Dockerfile: the same
 * folder /app, the same user, no shell. For tests where no base image can be pulled; the image runs
 * on machines like this one.
 *
 *   node k8s/build-image.mjs [--name longline:0.1.0] [--output build/image/longline.tar]
 *
 * The output is a tar with an OCI image layout and the manifest.json of `docker save`: `ctr images
 * import`, `podman load`, `docker load` and `skopeo copy oci-archive:` accept it. The same inputs
 * and SOURCE_DATE_EPOCH give the same bytes.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { arch, argv, env, execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { stage } from './stage.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' };
const USER = 65532;
const MEDIA = 'application/vnd.oci.image';

const ETC = {
  passwd: `root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:${USER}:${USER}:nonroot:/home/nonroot:/sbin/nologin\n`,
  group: `root:x:0:\nnonroot:x:${USER}:\n`,
  'nsswitch.conf': 'hosts: files dns\n',
};

/**
 * @returns {{name: string, output: string, digest: string, bytes: number}} `digest` of the manifest
 */
export function buildImage({ name, output, epoch }) {
  const work = mkdtempSync(join(tmpdir(), 'longline-image-'));
  try {
    const layers = [
      layer(join(work, 'libraries'), 'libraries that node is linked with', addLibraries, epoch),
      layer(join(work, 'node'), `node ${process.version}`, addNode, epoch),
      layer(join(work, 'app'), `longline ${version}`, (root) => stage(join(root, 'app')), epoch),
    ];
    return write(join(work, 'layout'), layers, { name, output, epoch });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function addLibraries(root) {
  const libraries = run('ldd', execPath).match(/\/\S+\.so\S*/g);
  for (const library of libraries) copy(library, join(root, library));
  for (const [file, text] of Object.entries(ETC)) {
    mkdirSync(join(root, 'etc'), { recursive: true });
    writeFileSync(join(root, 'etc', file), text);
  }
  mkdirSync(join(root, 'tmp'));
  chmodSync(join(root, 'tmp'), 0o1777);
}

function addNode(root) {
  copy(execPath, join(root, 'usr/local/bin/node'));
}

/** Copies the file that a link points to. */
function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

/**
 * Owner, time and order of the files are fixed, so that the layer does not depend on this machine.
 */
function layer(root, title, fill, epoch) {
  mkdirSync(root, { recursive: true });
  fill(root);
  const tar = run(
    'tar',
    '--create',
    '--format=gnu',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--mode=go-w,a+rX',
    `--directory=${root}`,
    '.',
  );
  return { title, diffId: digestOf(tar), gzipped: gzipSync(tar, { level: 6 }) };
}

function write(layout, layers, { name, output, epoch }) {
  const created = new Date(epoch * 1000).toISOString();
  const put = (bytes) => {
    const digest = digestOf(bytes);
    const path = join(layout, blobOf(digest));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return { digest, size: bytes.length };
  };
  const putJson = (value) => put(Buffer.from(JSON.stringify(value)));
  const config = putJson({
    created,
    architecture: ARCHITECTURES[arch],
    os: 'linux',
    config: {
      User: `${USER}:${USER}`,
      Env: ['PATH=/usr/local/bin', 'NODE_ENV=production'],
      WorkingDir: '/app',
      Cmd: ['node', 'dist/cli/main.js', '--help'],
      StopSignal: 'SIGTERM',
      ExposedPorts: Object.fromEntries(
        [7000, 7001, 7100, 7101, 7200, 7201].map((port) => [`${port}/tcp`, {}]),
      ),
      Labels: { 'org.opencontainers.image.title': 'longline' },
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(({ title }) => ({ created, created_by: title })),
  });
  const blobs = layers.map(({ gzipped }) => put(gzipped));
  const manifest = putJson({
    schemaVersion: 2,
    mediaType: `${MEDIA}.manifest.v1+json`,
    config: { mediaType: `${MEDIA}.config.v1+json`, ...config },
    layers: blobs.map((blob) => ({ mediaType: `${MEDIA}.layer.v1.tar+gzip`, ...blob })),
  });
  const fullName = name.includes('/') ? name : `docker.io/library/${name}`;
  const files = {
    'oci-layout': { imageLayoutVersion: '1.0.0' },
    'index.json': {
      schemaVersion: 2,
      mediaType: `${MEDIA}.index.v1+json`,
      manifests: [
        {
          mediaType: `${MEDIA}.manifest.v1+json`,
          ...manifest,
          platform: { architecture: ARCHITECTURES[arch], os: 'linux' },
          annotations: {
            'io.containerd.image.name': fullName,
            'org.opencontainers.image.ref.name': name.split(':')[1],
          },
        },
      ],
    },
    'manifest.json': [
      {
        Config: blobOf(config.digest),
        RepoTags: [fullName],
        Layers: blobs.map(({ digest }) => blobOf(digest)),
      },
    ],
  };
  for (const [file, value] of Object.entries(files)) {
    writeFileSync(join(layout, file), JSON.stringify(value));
  }
  mkdirSync(dirname(output), { recursive: true });
  run(
    'tar',
    '--create',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    `--file=${output}`,
    `--directory=${layout}`,
    ...Object.keys(files),
    'blobs',
  );
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  return { name: fullName, output, digest: manifest.digest, bytes };
}

function blobOf(digest) {
  return join('blobs', ...digest.split(':'));
}

function digestOf(bytes) {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function run(command, ...args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { maxBuffer: 2 ** 30 });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr.toString()}`);
  return command === 'ldd' ? stdout.toString() : stdout;
}

/** Time of the newest commit in seconds, so that two builds of it are identical. */
function commitTime() {
  const { stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT });
  return Number(stdout?.toString() || 0);
}

if (resolve(argv[1] ?? '') === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      name: { type: 'string', default: `longline:${version}` },
      output: { type: 'string', default: join(ROOT, 'build/image/longline.tar') },
    },
  });
  const epoch = Number(env.SOURCE_DATE_EPOCH ?? commitTime());
  console.log(JSON.stringify(buildImage({ ...values, epoch })));
}
