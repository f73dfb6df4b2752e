/** Why a TLS connection failed; the order is that of `TlsFailure` in native/tls.h. */
export const TLS_FAILURES = [
  'none',
  'not_tls',
  'handshake_failed',
  'handshake_timeout',
  'handshake_aborted',
  'bad_record',
  'record_too_long',
  'unexpected_message',
  'malformed_message',
  'too_many_empty_records',
  'record_timeout',
  'too_many_incomplete_records',
  'peer_alert',
  'too_many_handshakes',
  'certificate_rejected',
  'truncated_record',
  'no_close_notify',
] as const;

export type TlsFailure = (typeof TLS_FAILURES)[number];

/** Failures of Node's TLS, by the code of its error; any other is `handshake_failed`. */
const FAILURES_OF_NODE: Readonly<Record<string, TlsFailure>> = {
  ERR_SSL_HTTP_REQUEST: 'not_tls',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not_tls',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'handshake_timeout',
  ECONNRESET: 'handshake_aborted',
};

export function tlsFailureOf({ code = '' }: NodeJS.ErrnoException): TlsFailure {
  return FAILURES_OF_NODE[code] ?? (code.includes('_ALERT_') ? 'peer_alert' : 'handshake_failed');
}
