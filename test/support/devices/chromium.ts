import { TLS_RUN } from '../tls/tls-run.js';

/** Minimal features, no sandbox because tests run as root, and no requests to the internet. */
export const CHROMIUM_ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  ...(TLS_RUN ? ['--ignore-certificate-errors'] : []),
];
