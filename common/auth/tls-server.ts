/** A TLS server with the certificates of gRPC, from files that may change. */
import { createServer, type Server } from 'node:tls';
import type { Logger } from '../process/log.js';
import { WatchedFiles } from '../process/watched-files.js';
import type { GrpcTlsFiles } from './peer-settings.js';

const HANDSHAKE_MS = 10_000;

/**
 * A client certificate is requested but not required: a client may have a token instead.
 * @throws EnvironmentError when the files cannot be used
 */
export async function openTlsServer(files: GrpcTlsFiles, log: Logger): Promise<Server> {
  const { cert, key, clientCa } = files;
  const server = createServer({
    handshakeTimeout: HANDSHAKE_MS,
    requestCert: clientCa !== undefined,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  const paths = clientCa === undefined ? [cert, key] : [cert, key, clientCa];
  await WatchedFiles.open(
    paths,
    ([newCert, newKey, newCa]) => {
      server.setSecureContext({ cert: newCert, key: newKey, ca: newCa });
    },
    log,
  );
  return server;
}
