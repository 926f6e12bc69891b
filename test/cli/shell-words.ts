/** The simple commands of a shell script, as far as the manual's examples need it: quotes, pipes, lists, `$( )`, assignments. */
export function simpleCommands(script: string): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | undefined;
  const endWord = () => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  const endCommand = () => {
    endWord();
    const start = words.findIndex((each) => !/^(\w+=.*|if|then|do|else|!|while)$/s.test(each));
    if (start !== -1) commands.push(words.slice(start));
    words = [];
  };
  for (let i = 0; i < script.length; i++) {
    const c = script[i] ?? "";
    if (c === "'") {
      const end = script.indexOf("'", i + 1);
      word = (word ?? "") + script.slice(i + 1, end);
      i = end;
    } else if (c === '"') {
      const end = script.indexOf('"', i + 1);
      word = (word ?? "") + script.slice(i + 1, end);
      i = end;
    } else if (c === "#" && word === undefined) {
      const end = script.indexOf("\n", i);
      i = end === -1 ? script.length : end - 1;
    } else if (c === "$" && script[i + 1] === "(") {
      // What stands before is an assignment or an argument; the command inside counts on its own.
      endCommand();
      i++;
    } else if (c === "<" || c === ">") {
      endCommand();
    } else if (/[|;&()\n]/.test(c)) {
      endCommand();
    } else if (/\s/.test(c)) {
      endWord();
    } else {
      word = (word ?? "") + c;
    }
  }
  endCommand();
  return commands;
}
