import { COMMON_WORDS } from './common-passwords.ts';

/** bcrypt ignores what is beyond; longer passwords are refused rather than cut. */
export const MAX_PASSWORD_BYTES = 72;
export const MIN_PASSWORD_LENGTH = 12;

/** What somebody guesses first: an owner's own names. */
interface Owner {
  username: string;
  email: string;
}

const COMMON =
  'is a common password, or made of common words and numbers: take three words or more that do not belong together';
const OWN = 'must not be the user name or the e-mail address';

/** What is wrong with a password that somebody wants to have; `undefined` where it may be taken. */
export function passwordProblem(password: string, owner: Owner): string | undefined {
  if ([...password].length < MIN_PASSWORD_LENGTH) return `must have at least ${MIN_PASSWORD_LENGTH} characters`;
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return `must have at most ${MAX_PASSWORD_BYTES} bytes`;
  const plain = plainOf(password);
  const names = [owner.username, owner.email, owner.email.split('@', 1)[0] ?? ''].map(plainOf);
  if (names.some((name) => name === plain || reversed(name) === plain)) return OWN;
  const own = names.map(lettersOf).filter((name) => name.length > 2);
  const spelled = [plain, lettersOf(plain)];
  return spelled.some((text) => text !== '' && isCommon(text, new Set(own))) ? COMMON : undefined;
}

function plainOf(text: string): string {
  return text.normalize('NFKC').toLowerCase();
}

const lettersOf = (text: string) => text.replaceAll(/[^\p{L}\p{N}]/gu, '');

const reversed = (text: string) => [...text].reverse().join('');

/** Neighbours on keyboards and in the alphabet; walked in both directions. */
const WALKS = [
  ...['qwertyuiop', 'asdfghjkl', 'zxcvbnm', 'qwertzuiop', 'yxcvbnm', 'azertyuiop', 'qsdfghjklm', 'wxcvbn'],
  ...[
    'abcdefghijklmnopqrstuvwxyz',
    '01234567890',
    'qazwsxedcrfvtgbyhnujmikolp',
    '1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p',
  ],
  ...[
    '1q2w3e4r5t6y7u8i9o0p',
    'q1w2e3r4t5y6u7i8o9p0',
    'a1b2c3d4e5f6g7h8i9j0',
    '1a2b3c4d5e6f7g8h9i0j',
    '147258369',
    '789456123',
  ],
].flatMap((walk) => [walk, reversed(walk)]);
const MIN_WALK = 3;

/** Letters that are often written as digits and signs; 1 and ! stand for two. */
const LETTERS: Record<string, string> = {
  0: 'o',
  3: 'e',
  4: 'a',
  '@': 'a',
  5: 's',
  $: 's',
  7: 't',
  '+': 't',
  8: 'b',
  9: 'g',
};
const readAs = (one: string) => (char: string) =>
  char === '1' || char === '!' || char === '|' ? one : (LETTERS[char] ?? char);

const MAX_WORDS = 2;
const MAX_PERIOD = 4;

/** Whether it is made of two common words at most, with digits and signs around and in them, however often it is repeated. */
function isCommon(password: string, own: ReadonlySet<string>): boolean {
  const chars = [...onceOf(password)];
  if (chars.length <= MAX_PERIOD) return true;
  const spellings = ['i', 'l'].map((one) => chars.map(readAs(one)));
  const isWord = (from: number, to: number) =>
    [chars, ...spellings].some((spelling) => {
      const part = spelling.slice(from, to).join('');
      return COMMON_WORDS.has(part) || own.has(part);
    });
  // How many words it takes at least to make the first so many characters.
  const words = [0];
  for (let end = 1; end <= chars.length; end++) {
    let fewest = Number.POSITIVE_INFINITY;
    for (let start = 0; start < end; start++) {
      const before = words[start] as number;
      if (before > MAX_WORDS) continue;
      const part = chars.slice(start, end).join('');
      if (isFiller(part)) fewest = Math.min(fewest, before);
      else if (isWord(start, end) || isWalk(part)) fewest = Math.min(fewest, before + 1);
    }
    words.push(fewest);
  }
  return (words[chars.length] as number) <= MAX_WORDS;
}

/** `abcabcabc` is `abc`. */
function onceOf(text: string): string {
  const period = text ? (text + text).indexOf(text, 1) : 0;
  return text.slice(0, period);
}

/** What costs a guesser next to nothing: signs, short numbers, years and dates, one character over and over. */
function isFiller(part: string): boolean {
  if (/^[\s!-/:-@[-`{-~]+$/.test(part)) return true;
  if (/^\d+$/.test(part))
    return part.length <= 4 || isWalk(part) || onceOf(part).length <= 2 || /^[0-3]?\d[01]\d(19|20)\d\d$/.test(part);
  return part.length > 2 && onceOf(part).length === 1;
}

function isWalk(part: string): boolean {
  return part.length >= MIN_WALK && WALKS.some((walk) => walk.includes(part));
}
