/** Whether this is `npm run test:long`: what takes minutes by its nature then takes them, and is cut short otherwise. */
export const LONG = process.env.CDKTR_TEST_LONG !== undefined;
