/** The port of devices ends TLS. */
process.env.TEST_TLS = '1';
