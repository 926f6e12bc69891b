/** For tests in which no task runs another workflow. */
export const NO_WORKFLOWS = {
  load: async () => {},
  get: () => undefined,
  ids: () => [],
  isAwaited: () => false,
  invalidFiles: [],
};
