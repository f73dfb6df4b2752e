import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A self-signed certificate, made by the `openssl` command. */
export function makeCertificate(): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'longline-tls-'));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const rest = ['-subj', '/CN=localhost', '-days', '2', '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', '-x509', ...kind, ...rest], { stdio: 'ignore' });
  return { cert, key };
}

/** Settings of an edge. */
export function tlsSettings({ cert, key }: Certificate): NodeJS.ProcessEnv {
  return { LONGLINE_EDGE_TLS_CERT_FILE: cert, LONGLINE_EDGE_TLS_KEY_FILE: key };
}
