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
] as const;

export type TlsFailure = (typeof TLS_FAILURES)[number];
