/**
 * Runs tests with clusters whose edges and front proxies end TLS, and with an environment in which
 * clients of the system trust their authority.
 *
 *   npm run -s test:tls                              the device tests
 *   npm run -s test:tls -- test/cluster/devices/mqtt
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { Authority } from '../../dist/test/support/certificates.js';

const authority = new Authority();
try {
  const { cert, key } = authority.issue('edge', ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1']);
  const paths = process.argv.slice(2);
  const { status } = spawnSync(
    process.execPath,
    ['node_modules/jest/bin/jest.js', ...(paths.length > 0 ? paths : ['test/cluster/devices'])],
    {
      stdio: 'inherit',
      env: {
        ...process.env,
        NODE_OPTIONS: '--experimental-vm-modules --no-warnings',
        TEST_TLS: '1',
        TEST_TLS_CERT: cert,
        TEST_TLS_KEY: key,
        // For Node.js, for what uses OpenSSL, for curl, and for Python's requests.
        NODE_EXTRA_CA_CERTS: authority.ca,
        SSL_CERT_FILE: authority.ca,
        CURL_CA_BUNDLE: authority.ca,
        REQUESTS_CA_BUNDLE: authority.ca,
      },
    },
  );
  process.exitCode = status ?? 1;
} finally {
  rmSync(authority.folder, { recursive: true });
}
