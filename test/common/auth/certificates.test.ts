import type { PeerCertificate } from 'node:tls';
import { describe, expect, test } from '@jest/globals';
import { certificateNames, checkDeviceCertificate } from '../../../common/auth/certificates.js';

function names(CN: unknown, subjectaltname?: string): string[] {
  return certificateNames({ subject: { CN }, subjectaltname } as PeerCertificate);
}

test('reads the common name, DNS names and URIs', () => {
  expect(names('shop')).toEqual(['shop']);
  expect(names('shop', 'DNS:shop.example, IP Address:10.0.0.1, URI:spiffe://prod/shop')).toEqual([
    'shop',
    'shop.example',
    'spiffe://prod/shop',
  ]);
  expect(names(undefined, 'email:shop@example.com')).toEqual([]);
  expect(certificateNames(undefined)).toEqual([]);
});

test('ignores ambiguous common names', () => {
  expect(names(['shop', 'ops'])).toEqual([]);
});

test('does not read a name with a comma as two names', () => {
  expect(names('shop', 'URI:"http://a/, DNS:ops", DNS:"x, DNS:ops, y"')).toEqual(['shop']);
});

describe('the certificate of a device', () => {
  const CERTIFICATE = {
    clientId: 'alice',
    expiresAtMs: Date.now() + 60_000,
    issuedAtMs: Number.POSITIVE_INFINITY,
    labels: '',
    groups: '',
  };

  test('authenticates the client in its common name until it expires', () => {
    expect(checkDeviceCertificate(CERTIFICATE, 'alice')).toEqual({
      expiresAtMs: CERTIFICATE.expiresAtMs,
      issuedAtMs: Number.POSITIVE_INFINITY,
      labels: '',
      groups: '',
    });
  });

  test.each([
    [{ ...CERTIFICATE, clientId: 'bob' }, 'PERMISSION_DENIED'],
    [{ ...CERTIFICATE, clientId: undefined }, 'UNAUTHENTICATED'],
    [{ ...CERTIFICATE, expiresAtMs: Date.now() - 1 }, 'TOKEN_EXPIRED'],
  ])('%j is rejected', (certificate, code) => {
    expect(checkDeviceCertificate(certificate, 'alice')).toMatchObject({ code });
  });
});
