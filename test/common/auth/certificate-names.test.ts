import type { PeerCertificate } from 'node:tls';
import { expect, test } from '@jest/globals';
import { certificateNames } from '../../../common/auth/certificate-names.js';

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
