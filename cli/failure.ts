/** The command cannot be done; the message gives the reason in one line. The CLI exits with 2. */
export class Failure extends Error {}
