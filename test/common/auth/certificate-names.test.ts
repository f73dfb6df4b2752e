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

test('two common names are none', () => {
  expect(names(['shop', 'ops'])).toEqual([]);
});

test('a name that has a comma in it does not become two', () => {
  expect(names('shop', 'URI:"http://a/, DNS:ops", DNS:"x, DNS:ops, y"')).toEqual(['shop']);
});
