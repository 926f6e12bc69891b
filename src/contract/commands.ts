/** The trigger of runs that an agent has begun by itself: commands of `cdktr exec`. */
export const COMMAND_TRIGGER = "exec";
