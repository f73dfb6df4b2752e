/**
 * OCI archives of third-party images, built from files of this machine: the official images are in
 * registries that the test cannot reach.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '../command.js';
import { binary } from './binaries.js';
import { PAUSE_IMAGE, REDIS_IMAGE, RUN } from './layout.js';

const MEDIA_TYPE = 'application/vnd.oci.image';
const USER = '65532:65532';

/** The process that holds the namespaces of a pod. @returns the path of the archive */
export function makePauseImage(): Promise<string> {
  return makeImage(PAUSE_IMAGE, { '/pause': binary('pause') }, { Entrypoint: ['/pause'] });
}

/**
 * The machine's redis-server, for the bundled Redis of the chart. @returns the path of the archive
 */
export async function makeRedisImage(): Promise<string> {
  const path = (await run('sh', ['-c', 'command -v redis-server'])).trim();
  const libraries = (await run('ldd', [path])).match(/\/\S+\.so\S*/g)!;
  const files = { '/usr/bin/redis-server': path };
  for (const library of libraries) Object.assign(files, { [library]: library });
  return makeImage(REDIS_IMAGE, files, { Cmd: ['redis-server'], Env: ['PATH=/usr/bin'] });
}

/** @param files source path on this machine by path in the image */
async function makeImage(
  name: string,
  files: Readonly<Record<string, string>>,
  config: object,
): Promise<string> {
  const folder = join(RUN, 'images', createHash('sha256').update(name).digest('hex'));
  const blobs = join(folder, 'image/blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const blob = (kind: string, bytes: Buffer) => {
    const hash = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hash), bytes);
    return { mediaType: `${MEDIA_TYPE}.${kind}`, digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));

  for (const [to, from] of Object.entries(files)) {
    mkdirSync(join(folder, 'root', dirname(to)), { recursive: true });
    copyFileSync(from, join(folder, 'root', to));
  }
  await run('tar', ['-C', join(folder, 'root'), '-cf', join(folder, 'layer.tar'), '.']);
  const layer = blob('layer.v1.tar', readFileSync(join(folder, 'layer.tar')));
  const image = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { User: USER, ...config },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
  };
  const manifest = blob(
    'manifest.v1+json',
    json({
      schemaVersion: 2,
      mediaType: `${MEDIA_TYPE}.manifest.v1+json`,
      config: blob('config.v1+json', json(image)),
      layers: [layer],
    }),
  );
  const annotations = { 'io.containerd.image.name': name };
  writeFileSync(
    join(folder, 'image/index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(folder, 'image/oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  const archive = join(folder, 'image.tar');
  await run('tar', ['-C', join(folder, 'image'), '-cf', archive, '.']);
  return archive;
}
