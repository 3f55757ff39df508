/* Truth values, as wide as they are in Mach's messages.  */

#ifndef ACTOR_PAGER_MACH_BOOLEAN_H
#define ACTOR_PAGER_MACH_BOOLEAN_H

typedef int boolean_t;

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

#endif
