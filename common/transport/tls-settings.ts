/** Settings of the TLS of a port for devices: the same for edges and front proxies. */
import { z } from 'zod';
import { listOf } from '../process/config.js';
import type { TlsFiles } from './tls-identity.js';

/**
 * @param prefix start of the names of the settings, with its underscore
 * @param port the port, in words
 */
export function tlsSettings<Prefix extends string>(prefix: Prefix, port: string) {
  const named = <Name extends string, Schema>(name: Name, schema: Schema) =>
    ({ [`${prefix}${name}`]: schema }) as Record<`${Prefix}${Name}`, Schema>;
  return {
    ...named(
      'CERT_FILE',
      listOf(z.string().min(1))
        .default([])
        .describe(
          `PEM file with the certificate of ${port} and its intermediate certificates. Of several ` +
            "files, separated by commas, the device's SNI selects one, and the first is the " +
            'default. Files are read again within 2 s of a change. Unset: devices connect without ' +
            'TLS.',
        ),
    ),
    ...named(
      'KEY_FILE',
      listOf(z.string().min(1))
        .default([])
        .describe(
          `PEM files with the private keys of ${prefix}CERT_FILE, in the same order. Files are ` +
            'read again within 2 s of a change.',
        ),
    ),
    ...named(
      'MIN_VERSION',
      z
        .enum(['1.2', '1.3'])
        .default('1.2')
        .describe(
          `Oldest version of TLS on ${port}. In the native transport, a connection of 1.3 costs a ` +
            'few hundred bytes; one of 1.2 keeps the state of OpenSSL.',
        ),
    ),
    ...named(
      'TICKET_KEY_FILE',
      listOf(z.string().min(1))
        .default([])
        .describe(
          'Files with the keys of session tickets, 48 random bytes each (`openssl rand 48`), the ' +
            'same for all processes: then a device resumes its TLS session at any of them, which ' +
            'saves a signature. The first seals new tickets, the others are still accepted: put a ' +
            'new key first every day, and keep the last few. Files are read again within 2 s of a ' +
            'change. Unset: each process has a key of its own until it ends.',
        ),
    ),
    ...named(
      'CLIENT_CA_FILE',
      z
        .string()
        .min(1)
        .optional()
        .describe(
          'PEM file with the authorities of client certificates. A device with a certificate needs ' +
            'no token: it is the clientId in the common name (CN) of the certificate, and must ' +
            'name the same one. The file is read again within 2 s of a change. Unset: no client ' +
            'certificate is requested.',
        ),
    ),
    ...named(
      'CLIENT_CERTIFICATES',
      z
        .enum(['required', 'optional'])
        .optional()
        .describe(
          '`required`: a device without a certificate cannot connect. `optional`: it authenticates ' +
            `with a token. Needs ${prefix}CLIENT_CA_FILE. Unset: \`required\`.`,
        ),
    ),
  };
}

/** Parsed settings of `tlsSettings`, without their prefix. */
export interface TlsValues {
  readonly certs: readonly string[];
  readonly keys: readonly string[];
  readonly minVersion: '1.2' | '1.3';
  readonly ticketKeys: readonly string[];
  readonly clientCa: string | undefined;
  readonly clientCertificates: 'required' | 'optional' | undefined;
}

export interface TlsSurroundings {
  readonly prefix: string;
  /** Whether devices authenticate with tokens. */
  readonly hasTokens: boolean;
  /** Whether a PROXY header may come before the handshake. */
  readonly startsPlain: boolean;
}

/** @returns undefined without TLS */
export function tlsFilesOf(
  values: TlsValues,
  { prefix, hasTokens, startsPlain }: TlsSurroundings,
  problems: string[],
): TlsFiles | undefined {
  const { certs, keys, minVersion, ticketKeys, clientCa, clientCertificates } = values;
  if (certs.length !== keys.length) {
    problems.push(
      `${prefix}KEY_FILE: ${keys.length} keys for ${certs.length} certificates; list one key per ` +
        `file of ${prefix}CERT_FILE`,
    );
  }
  if (certs.length === 0) {
    const needing = {
      // A port without TLS would be a surprise.
      MIN_VERSION: minVersion === '1.2' ? undefined : minVersion,
      TICKET_KEY_FILE: ticketKeys[0],
      CLIENT_CA_FILE: clientCa,
    };
    for (const [name, value] of Object.entries(needing)) {
      if (value !== undefined) problems.push(`${prefix}${name}: ${prefix}CERT_FILE is not set`);
    }
  }
  if (clientCertificates !== undefined && clientCa === undefined) {
    problems.push(`${prefix}CLIENT_CERTIFICATES: ${prefix}CLIENT_CA_FILE is not set`);
  }
  if (clientCertificates === 'optional' && !hasTokens) {
    problems.push(
      `${prefix}CLIENT_CERTIFICATES: with LONGLINE_AUTH=none, optional certificates authenticate ` +
        'no device; require them, or set LONGLINE_AUTH=jwt',
    );
  }
  if (certs.length === 0) return undefined;
  return {
    certificates: certs.map((cert, i) => ({ cert, key: keys[i]! })),
    ticketKeys,
    minVersion: `TLSv${minVersion}`,
    clients:
      clientCa === undefined
        ? undefined
        : { ca: clientCa, isRequired: clientCertificates !== 'optional' },
    startsPlain,
  };
}
