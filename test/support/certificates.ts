/** Issues certificates for tests with the `openssl` command. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SystemClient } from './devices/system-clients.js';

export const OPENSSL: SystemClient = { name: 'openssl', probe: ['openssl', 'version'] };

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority; its files stay in a temporary folder. */
export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'longline-ca-'));
  /** Path of the CA certificate. */
  readonly ca = join(this.folder, 'ca.pem');
  readonly #key = join(this.folder, 'ca.key');
  #serial = 0;

  constructor() {
    const subject = ['-subj', '/CN=test authority', '-days', '2'];
    openssl('req', '-x509', ...keyOptions(this.#key), ...subject, '-out', this.ca);
  }

  /**
   * @param commonName CN of the subject
   * @param alternatives subject alternative names, such as `DNS:localhost`
   */
  issue(commonName: string, alternatives: readonly string[] = ['DNS:localhost']): CertificateFiles {
    const name = join(this.folder, `${++this.#serial}`);
    const [cert, key, request, extensions] = ['pem', 'key', 'csr', 'ext'].map(
      (suffix) => `${name}.${suffix}`,
    ) as [string, string, string, string];
    openssl('req', '-new', ...keyOptions(key), '-subj', `/CN=${commonName}`, '-out', request);
    writeFileSync(extensions, `subjectAltName=${alternatives.join(',')}\n`);
    const signing = ['-CA', this.ca, '-CAkey', this.#key, '-CAcreateserial', '-days', '2'];
    openssl('x509', '-req', '-in', request, ...signing, '-extfile', extensions, '-out', cert);
    return { cert, key };
  }
}

function keyOptions(path: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path];
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
