/**
 * With TEST_TLS=1, edges and front proxies of clusters end TLS, and the test devices that connect
 * to them use it: what devices see must be the same. `scripts/test/tls.mjs` runs all device tests
 * so, with certificates that clients of the system trust.
 */
import { Authority, type CertificateFiles } from '../certificates.js';

export const TLS_RUN = process.env.TEST_TLS === '1';

/** The scheme that devices use, with TLS if it is such a run. */
export function deviceScheme<Plain extends 'http' | 'ws' | 'mqtt'>(
  plain: Plain,
): Plain | `${Plain}s` {
  return TLS_RUN ? `${plain}s` : plain;
}

let issued: CertificateFiles | undefined;

/** Settings of edges and routers; none unless this is such a run. */
export function deviceTlsSettings(): NodeJS.ProcessEnv {
  if (!TLS_RUN) return {};
  const { TEST_TLS_CERT: cert, TEST_TLS_KEY: key } = process.env;
  issued ??= cert && key ? { cert, key } : new Authority().issue('edge');
  return {
    LONGLINE_EDGE_TLS_CERT_FILE: issued.cert,
    LONGLINE_EDGE_TLS_KEY_FILE: issued.key,
    LONGLINE_ROUTER_FRONT_TLS_CERT_FILE: issued.cert,
    LONGLINE_ROUTER_FRONT_TLS_KEY_FILE: issued.key,
  };
}
