/** Whether this is `npm run test:long`, which runs slow tests at full length; otherwise they are shortened. */
export const LONG = process.env.CDKTR_TEST_LONG !== undefined;
