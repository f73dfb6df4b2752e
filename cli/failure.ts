/** What the user asked for cannot be done; the message says why in one line. The CLI exits with 2. */
export class Failure extends Error {}
