import { expect, test } from "bun:test";
import { parseJunit } from "../../scripts/support/junit.ts";

test("counts and names what failed, nested groups and markup in names included", () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="5" assertions="1" failures="2" skipped="1" time="0.01">
  <testsuite name="a.test.ts" file="a.test.ts" tests="5" assertions="1" failures="2" skipped="1" time="0.01">
    <testsuite name="outer" file="a.test.ts" line="2" tests="3" assertions="1" failures="1" skipped="1" time="0">
      <testcase name="ok &lt;1&gt;" classname="outer" time="0.000007" file="a.test.ts" line="2" assertions="0" />
      <testcase name="bad &amp; &quot;wrong&quot;" classname="outer" time="0.0002" file="a.test.ts" line="2" assertions="1">
        <failure type="AssertionError" message="1 &gt; 2">AssertionError</failure>
      </testcase>
      <testcase name="left out" classname="outer" time="0" file="a.test.ts" line="2" assertions="0">
        <skipped />
      </testcase>
    </testsuite>
    <testcase name="late" classname="" time="0.01" file="a.test.ts" line="3" assertions="0">
      <failure type="Error" message="late">Error: late</failure>
    </testcase>
    <testcase name="fine" classname="" time="0.01" file="a.test.ts" line="4" assertions="0" />
  </testsuite>
</testsuites>`;
  expect(parseJunit(xml)).toEqual({
    passed: 2,
    failed: 2,
    skipped: 1,
    failures: ['outer > bad & "wrong"', "late"],
  });
});

test("a malformed or truncated report counts nothing", () => {
  expect(parseJunit("")).toBeUndefined();
  expect(parseJunit('<?xml version="1.0"?>\n<testsuites name="bun test" tests="5"')).toBeUndefined();
});
