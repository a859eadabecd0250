/*
 * list: intrusive, circular, doubly linked. The head is a node; an unlinked node points to itself. No
 * locking.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Put `n` at the end of `head`. */
static inline void list_append(struct list *head, struct list *n)
{
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

/* Unlink; the node may be appended again. */
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* Unlink and return the first node of a list that is not empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *n = head->next;
    head->next = n->next;
    n->next->prev = head;
    list_init(n);
    return n;
}

/* `it` is a struct list *; the body may not unlink it unless it breaks out. */
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)

#endif
