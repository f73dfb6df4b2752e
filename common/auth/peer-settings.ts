/**
 * Settings for TLS and authentication of gRPC: the server side (router and control), and the links
 * that edges and routers open to control.
 */
import { z } from 'zod';
import { listOf } from '../process/config.js';
import { SECRET_ENTRY } from './tokens.js';

/** Settings of the gRPC servers: router and control. */
export const grpcTlsSettings = {
  LONGLINE_GRPC_TLS_CERT_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the certificate of the gRPC server, followed by its intermediate ' +
        'certificates. A changed file is used for new connections within 2 s. Unset: gRPC ' +
        'without TLS.',
    ),
  LONGLINE_GRPC_TLS_KEY_FILE: z
    .string()
    .optional()
    .describe('PEM file with the private key of LONGLINE_GRPC_TLS_CERT_FILE.'),
  LONGLINE_GRPC_TLS_CLIENT_CA_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the authorities whose client certificates are accepted. A certificate is ' +
        'requested, not required: a client without one authenticates with a token. Unset: client ' +
        'certificates are ignored.',
    ),
};

export interface GrpcTlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
}

/**
 * Returns undefined without TLS.
 * @param problems receives the combinations of settings that are invalid
 */
export function grpcTls(
  parsed: z.infer<z.ZodObject<typeof grpcTlsSettings>>,
  problems: string[],
): GrpcTlsFiles | undefined {
  const {
    LONGLINE_GRPC_TLS_CERT_FILE: cert,
    LONGLINE_GRPC_TLS_KEY_FILE: key,
    LONGLINE_GRPC_TLS_CLIENT_CA_FILE: clientCa,
  } = parsed;
  if (cert === undefined && key === undefined && clientCa === undefined) return undefined;
  if (cert !== undefined && key !== undefined) return { cert, key, clientCa };
  problems.push(
    'LONGLINE_GRPC_TLS_CERT_FILE: set it together with LONGLINE_GRPC_TLS_KEY_FILE; ' +
      'LONGLINE_GRPC_TLS_CLIENT_CA_FILE needs both',
  );
  return undefined;
}

/** Sent by edges and routers, accepted by control. */
const linkTokenSetting = {
  LONGLINE_LINK_TOKEN: listOf(
    z.string().regex(SECRET_ENTRY, 'expected a token of at least 16 characters, or several'),
  )
    .optional()
    .describe(
      'Token that edges and routers send to control: at least 16 of A-Z a-z 0-9 . _ ~ + / -, ' +
        'with optional `=` at the end. Of several, separated by commas, the first is sent and ' +
        'all are accepted, so that a token can be replaced process by process. Required with ' +
        'LONGLINE_AUTH=jwt unless client certificates are used.',
    ),
};

/** Settings of the links to control, which edges and routers open. */
export const linkTlsSettings = {
  ...linkTokenSetting,
  LONGLINE_LINK_TLS_CA_FILE: z
    .string()
    .optional()
    .describe(
      "PEM file with the authority of control's certificate. A changed file is used for new " +
        'connections within 2 s. Unset: links to control are not encrypted.',
    ),
  LONGLINE_LINK_TLS_CERT_FILE: z
    .string()
    .optional()
    .describe(
      'PEM file with the client certificate that is presented to control, instead of ' +
        'LONGLINE_LINK_TOKEN. Needs LONGLINE_LINK_TLS_KEY_FILE and LONGLINE_LINK_TLS_CA_FILE.',
    ),
  LONGLINE_LINK_TLS_KEY_FILE: z
    .string()
    .optional()
    .describe('PEM file with the private key of LONGLINE_LINK_TLS_CERT_FILE.'),
};

export interface LinkTlsFiles {
  readonly ca: string;
  /** Client certificate, if one is presented to control. */
  readonly own: { readonly cert: string; readonly key: string } | undefined;
}

export interface LinkConfig {
  /** Sent to control; undefined: none. */
  readonly token: string | undefined;
  readonly tls: LinkTlsFiles | undefined;
}

type ParsedLink = z.infer<z.ZodObject<typeof linkTlsSettings>> & {
  readonly LONGLINE_AUTH: 'none' | 'jwt';
};

/** @param problems receives the combinations of settings that are invalid */
export function linkConfig(parsed: ParsedLink, problems: string[]): LinkConfig {
  const {
    LONGLINE_LINK_TLS_CA_FILE: ca,
    LONGLINE_LINK_TLS_CERT_FILE: cert,
    LONGLINE_LINK_TLS_KEY_FILE: key,
    LONGLINE_LINK_TOKEN: [token] = [],
  } = parsed;
  const hasBoth = cert !== undefined && key !== undefined;
  if ((cert ?? key) !== undefined && !(hasBoth && ca !== undefined)) {
    problems.push(
      'LONGLINE_LINK_TLS_CERT_FILE: needs LONGLINE_LINK_TLS_KEY_FILE and LONGLINE_LINK_TLS_CA_FILE',
    );
  }
  if (parsed.LONGLINE_AUTH === 'jwt' && token === undefined && !hasBoth) {
    problems.push(
      'LONGLINE_LINK_TOKEN: required with LONGLINE_AUTH=jwt, ' +
        'unless LONGLINE_LINK_TLS_CERT_FILE is set',
    );
  }
  const own = hasBoth ? { cert, key } : undefined;
  return { token, tls: ca === undefined ? undefined : { ca, own } };
}

/** Settings of control for the peers that may open a link. */
export const linkPeerSettings = {
  ...linkTokenSetting,
  LONGLINE_LINK_CERTIFICATES: listOf(z.string().min(1))
    .default([])
    .describe(
      'Names in the client certificates of edges and routers, separated by commas; they ' +
        'authenticate a link instead of LONGLINE_LINK_TOKEN. If neither is set, every process ' +
        'that can reach control may join as an edge.',
    ),
};

/** Credentials of the peers that may link to control. If both lists are empty, every peer may. */
export interface LinkPeers {
  readonly tokens: readonly string[];
  readonly certificates: readonly string[];
}

/** @param problems receives the combinations of settings that are invalid */
export function linkPeers(
  parsed: z.infer<z.ZodObject<typeof linkPeerSettings & typeof grpcTlsSettings>> &
    Pick<ParsedLink, 'LONGLINE_AUTH' | 'LONGLINE_LINK_TOKEN'>,
  problems: string[],
): LinkPeers {
  const tokens = parsed.LONGLINE_LINK_TOKEN ?? [];
  const certificates = parsed.LONGLINE_LINK_CERTIFICATES;
  if (certificates.length > 0 && parsed.LONGLINE_GRPC_TLS_CLIENT_CA_FILE === undefined) {
    problems.push('LONGLINE_LINK_CERTIFICATES: needs LONGLINE_GRPC_TLS_CLIENT_CA_FILE');
  }
  if (parsed.LONGLINE_AUTH === 'jwt' && tokens.length === 0 && certificates.length === 0) {
    problems.push(
      'LONGLINE_LINK_TOKEN: required with LONGLINE_AUTH=jwt, ' +
        'unless LONGLINE_LINK_CERTIFICATES is set',
    );
  }
  return { tokens, certificates };
}
