/* story_inside.h: places of rows, for story.c, story_find.c and story_lines.c. */
#ifndef TM_STORY_INSIDE_H
#define TM_STORY_INSIDE_H

#include "scheduler/story.h"

/* A row of a source (node -1) or of a node's output. */
typedef struct story_place {
    int source, node;
    const char *output;
    uint64_t number; /* from 1 */
} story_place;

typedef struct story {
    tm_store *store;
    const temper_json *run, *plan, *nodes, *planned, *sources;
    temper_arena *arena;
    temper_error *error;
} story;

typedef struct story_rows {
    const char *data;
    size_t size;
} story_rows;

/* story_lines.c: rows as lines of a blob. */
temper_status story_open(const story *s, const story_place *place, story_rows *rows);
void story_close(const story *s, story_rows *rows);
/* Steps through lines: *at is a byte offset, 0 at first. */
bool story_next(const story_rows *rows, size_t *at, const char **line, size_t *length);
bool story_line(const story_rows *rows, uint64_t number, const char **line, size_t *length);
/* A row's bytes: as they stand, and canonical. A stage that passes a row on copies the ones or writes the others. */
typedef struct story_text {
    const char *raw, *canonical;
    size_t raw_length, canonical_length;
} story_text;
/* The number of the line that has exactly these bytes, 0 when there is none. */
uint64_t story_line_of(const story_rows *rows, const story_text *text);
/* The member `number` of a dropped row, without parsing what follows it. */
bool story_number(const char *line, size_t length, uint64_t *out);
/* A row's record (parsed, in the story's arena), and its bytes when `text` is not NULL. */
temper_status story_record(const story *s, const story_place *place, const temper_json **record,
                           story_text *text);
const char *story_at(const story *s, const story_place *place); /* "chats:17" */
bool story_is_rows(const temper_json *port);                    /* an edge, source or output with rows */

/* story.c */
const char *story_name(const temper_json *object, const char *name); /* a text member or "" */
/* Where the row came from: a source, or the stage that made it. */
temper_status story_origin(const story *s, story_place *place);
/* The whole of one row. */
temper_status story_of(const story *s, const story_place *place, const temper_json **out);

/* story_diff.c: [{"field", "before", "after"}]; NULL: no memory. */
temper_json *story_changes(temper_arena *arena, const temper_json *before, const temper_json *after);

#endif
