"""SERVES programs: repos, files, commits, uploads, accounts, change requests, jobs and activity as JSON.

Requests under `/api/v1/` come in; answers of one shape each, and every refusal as a sentence with a code, leave.
Nothing is decided here: each view reads its input, calls one function of a room, and answers.
"""
