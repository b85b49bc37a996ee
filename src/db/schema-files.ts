import type { Generated } from 'kysely';
import type { GeneratedTime, NullableJson, NullableTime, Time } from './columns.ts';

export interface FileTable {
  id: string;
  user_id: string;
  filename: string;
  content_type: string | null;
  purpose: string;
  status: Generated<'uploading' | 'ready'>;
  /** As Postgres gives 64 bits: a text. */
  bytes: Generated<string>;
  created_at: GeneratedTime;
  updated_at: GeneratedTime;
}

export interface FilePartTable {
  file_id: string;
  /** How many bytes of the file are before it. */
  start: string;
  content: Buffer;
}

/** The words of OpenAI for where a batch stands. */
export type BatchStatus =
  | 'validating'
  | 'failed'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'expired'
  | 'cancelling'
  | 'cancelled';

/** What is wrong with a batch as a whole. */
export interface BatchError {
  code: string;
  message: string;
  line: number | null;
}

export interface BatchTable {
  id: string;
  user_id: string;
  /** The API key that it was asked for with. */
  key_id: string | null;
  endpoint: string;
  completion_window: string;
  metadata: NullableJson<Record<string, string>>;
  status: BatchStatus;
  errors: NullableJson<BatchError[]>;
  input_file_id: string;
  output_file_id: string | null;
  error_file_id: string | null;
  /** Up to which byte of its file it was looked at. */
  read_to: Generated<string>;
  /** Lines that were looked at and ask for something, and those that are blank. */
  total: Generated<number>;
  blank: Generated<number>;
  /** The last line of which there is a task. */
  submitted_to: Generated<number>;
  /** Lines that stand in the output file, and in the error file. */
  completed: Generated<number>;
  failed: Generated<number>;
  request_id: string | null;
  /** When it is gone on with; `null` once it has ended. */
  step_at: NullableTime;
  created_at: GeneratedTime;
  in_progress_at: NullableTime;
  finalizing_at: NullableTime;
  cancelling_at: NullableTime;
  ended_at: NullableTime;
  expires_at: Time;
}

export interface BatchLineTable {
  batch_id: string;
  /** From 1. */
  line: number;
  custom_id: string;
  /** Where it stands in the file, in bytes. */
  start: string;
  length: number;
  task_id: string | null;
}
