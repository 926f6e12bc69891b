/** The driver of a storm, inside the network of its hosts: options come as JSON, and so goes the result. */
import { MemberStorm, type MemberStormOptions } from "./storm.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as MemberStormOptions;
await using storm = new MemberStorm(options);
try {
  console.log(JSON.stringify(await storm.run()));
} catch (error) {
  storm.keep();
  console.error(error, `\nkept: ${storm.directory}`);
  process.exitCode = 1;
}
