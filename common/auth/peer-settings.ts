/**
 * How the processes of a cluster and its backends know each other over gRPC: TLS of what listens
 * (router and control), and what edges and routers show control.
 */
import { z } from 'zod';
import { listOf } from '../process/config.js';

/** Of router and control, which listen. */
export const grpcTlsSettings = {
  LONGLINE_GRPC_TLS_CERT_FILE: z.string().optional(),
  LONGLINE_GRPC_TLS_KEY_FILE: z.string().optional(),
  /** Certificates of these authorities count as names. */
  LONGLINE_GRPC_TLS_CLIENT_CA_FILE: z.string().optional(),
};

export interface GrpcTlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
}

/** Undefined: without TLS. @param problems gets what does not fit together */
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
    'LONGLINE_GRPC_TLS_CERT_FILE: it and LONGLINE_GRPC_TLS_KEY_FILE need each other, ' +
      'and LONGLINE_GRPC_TLS_CLIENT_CA_FILE needs both',
  );
  return undefined;
}

/** Of edge and router, which connect to control. */
export const linkTlsSettings = {
  /** The authority of control's certificate; without it, links are not encrypted. */
  LONGLINE_LINK_TLS_CA_FILE: z.string().optional(),
  LONGLINE_LINK_TLS_CERT_FILE: z.string().optional(),
  LONGLINE_LINK_TLS_KEY_FILE: z.string().optional(),
};

export interface LinkTlsFiles {
  readonly ca: string;
  /** What is shown to control, if anything. */
  readonly own: { readonly cert: string; readonly key: string } | undefined;
}

export interface LinkConfig {
  /** Shown to control; undefined: nothing is. */
  readonly token: string | undefined;
  readonly tls: LinkTlsFiles | undefined;
}

type ParsedLink = z.infer<z.ZodObject<typeof linkTlsSettings>> & {
  readonly LONGLINE_AUTH: 'none' | 'jwt';
  readonly LONGLINE_LINK_TOKEN?: readonly string[] | undefined;
};

/** @param problems gets what does not fit together */
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
      'LONGLINE_LINK_TLS_CERT_FILE: it needs LONGLINE_LINK_TLS_KEY_FILE and LONGLINE_LINK_TLS_CA_FILE',
    );
  }
  if (parsed.LONGLINE_AUTH === 'jwt' && token === undefined && !hasBoth) {
    problems.push(
      'LONGLINE_LINK_TOKEN: required with LONGLINE_AUTH=jwt, unless LONGLINE_LINK_TLS_CERT_FILE is set',
    );
  }
  const own = hasBoth ? { cert, key } : undefined;
  return { token, tls: ca === undefined ? undefined : { ca, own } };
}

/** Of control: who is let in. */
export const linkPeerSettings = {
  /** Names of certificates that edges and routers show. */
  LONGLINE_LINK_CERTIFICATES: listOf(z.string().min(1)).default([]),
};

/** Who may link to control. None of either: acceptAll. */
export interface LinkPeers {
  readonly tokens: readonly string[];
  readonly certificates: readonly string[];
}

/** @param problems gets what does not fit together */
export function linkPeers(
  parsed: z.infer<z.ZodObject<typeof linkPeerSettings & typeof grpcTlsSettings>> &
    Pick<ParsedLink, 'LONGLINE_AUTH' | 'LONGLINE_LINK_TOKEN'>,
  problems: string[],
): LinkPeers {
  const tokens = parsed.LONGLINE_LINK_TOKEN ?? [];
  const certificates = parsed.LONGLINE_LINK_CERTIFICATES;
  if (certificates.length > 0 && parsed.LONGLINE_GRPC_TLS_CLIENT_CA_FILE === undefined) {
    problems.push('LONGLINE_LINK_CERTIFICATES: it needs LONGLINE_GRPC_TLS_CLIENT_CA_FILE');
  }
  if (parsed.LONGLINE_AUTH === 'jwt' && tokens.length === 0 && certificates.length === 0) {
    problems.push(
      'LONGLINE_LINK_TOKEN: required with LONGLINE_AUTH=jwt, unless LONGLINE_LINK_CERTIFICATES is set',
    );
  }
  return { tokens, certificates };
}
