/**
 * The image of the process that keeps a pod's namespaces, as an OCI archive: Kubernetes' own lies in
 * a registry.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary } from './binaries.js';
import { run } from './command.js';
import { PAUSE_IMAGE, RUN } from './layout.js';

const MEDIA_TYPES = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
};

/** @returns the archive */
export async function makePauseImage(): Promise<string> {
  const folder = `${RUN}/pause`;
  const blobs = join(folder, 'image/blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const blob = (mediaType: string, bytes: Buffer) => {
    const hash = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hash), bytes);
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));

  mkdirSync(join(folder, 'root'));
  copyFileSync(binary('pause'), join(folder, 'root/pause'));
  await run('tar', ['-C', join(folder, 'root'), '-cf', join(folder, 'layer.tar'), 'pause']);
  const layer = blob(MEDIA_TYPES.layer, readFileSync(join(folder, 'layer.tar')));
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Entrypoint: ['/pause'], User: '65535:65535' },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
  };
  const manifest = blob(
    MEDIA_TYPES.manifest,
    json({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: blob(MEDIA_TYPES.config, json(config)),
      layers: [layer],
    }),
  );
  const annotations = { 'io.containerd.image.name': PAUSE_IMAGE };
  writeFileSync(
    join(folder, 'image/index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(folder, 'image/oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  const archive = join(folder, 'pause.tar');
  await run('tar', ['-C', join(folder, 'image'), '-cf', archive, '.']);
  return archive;
}
